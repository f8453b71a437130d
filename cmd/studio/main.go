// Command studio starts and stops the local platform and runs things on it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mlstudio/studio/cmd/studio/cli"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
)

func main() {
	namespaces.Hook() // first: doctor tries namespaces in a copy of this program
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second interrupt ends the program the usual way.
	context.AfterFunc(ctx, stop)
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	err := cli.Run(ctx, streams, os.Args[1:])
	stop()
	os.Exit(cli.ExitCode(err))
}
