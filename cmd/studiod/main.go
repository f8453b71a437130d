// Command studiod is the engine: a supervisor, and, executed again with other
// arguments, each of the parts that link Kubernetes.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/mlstudio/studio/localcluster/holder/namespaces"
)

func main() {
	// A process that is to live in new namespaces begins here.
	namespaces.Hook()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "studiod: %v\n", err)
		os.Exit(1)
	}
}
