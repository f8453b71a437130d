//go:build e2e

package e2e

import (
	"errors"
	"syscall"
	"testing"

	"github.com/mlstudio/studio/test/proc"
)

// freeze stops all processes at once, as a machine that sleeps does, or lets them go on.
func freeze(t *testing.T, all []proc.Process, stop bool) {
	t.Helper()
	sig := syscall.SIGCONT
	if stop {
		sig = syscall.SIGSTOP
	}
	for _, p := range all {
		if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%v to %s: %v", sig, p, err)
		}
	}
}
