package namespaces

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// againEnv marks a program that Again runs.
const againEnv = "STUDIO_NS_AGAIN"

// Inside tells whether this process may give files to all ids that the node
// has: it is root, or Again started it.
func Inside() bool { return CapableRoot() || os.Getenv(againEnv) != "" }

// Again runs this program with other arguments in new namespaces, where it is
// root with the node's ids. It has the given streams and ends with the context.
// The error of one that failed is an *exec.ExitError.
func Again(ctx context.Context, cmd *exec.Cmd) error {
	cmd.Env = append(os.Environ(), againEnv+"=1")
	if _, err := Start(cmd); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		// It cleans up after itself, and that takes no time.
		time.AfterFunc(againGrace, func() { _ = cmd.Process.Kill() })
	})
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("running in a user namespace: %w", err)
	}
	return nil
}

const againGrace = 10 * time.Second
