package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// runSpecs runs upstream's test binary on several processes and returns its
// report. That specs fail is in the report; an error is a run without one.
func runSpecs(ctx context.Context, o options, s selection, kubeconfig, logs string) (types.Report, error) {
	out, err := os.Create(filepath.Join(logs, "ginkgo.log"))
	if err != nil {
		return types.Report{}, err
	}
	defer out.Close()

	const report = "report.json"
	args := []string{
		"-p", "--procs=" + strconv.Itoa(o.procs), "--no-color", "--timeout=" + o.timeout.String(),
		"--flake-attempts=" + strconv.Itoa(o.attempts),
		"--output-dir=" + logs, "--json-report=" + report,
		"--label-filter=" + s.labels,
	}
	for _, f := range s.focus {
		args = append(args, "--focus="+f)
	}
	for _, f := range s.skip {
		args = append(args, "--skip="+f)
	}
	args = append(args, filepath.Join(o.programs, "e2e.test"), "--",
		"--provider=skeleton", "--kubeconfig="+kubeconfig, "--kubectl-path="+filepath.Join(o.programs, "kubectl"),
		"--report-dir="+logs, "--disable-log-dump")
	cmd := exec.CommandContext(ctx, filepath.Join(o.programs, "ginkgo"), args...)
	said := &progress{log: out, screen: os.Stdout, every: 30 * time.Second, of: len(s.baseline)}
	cmd.Stdout, cmd.Stderr = said, said
	// Interrupted, ginkgo lets the running specs delete what they made.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	err = cmd.Run()
	if ctx.Err() != nil {
		return types.Report{}, fmt.Errorf("running the specs: %w", ctx.Err())
	}
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		return types.Report{}, fmt.Errorf("running the specs: %w", err)
	}
	all, readErr := readReport(filepath.Join(logs, report))
	if readErr != nil {
		return types.Report{}, fmt.Errorf("running the specs: %w; %s says why", errors.Join(err, readErr), out.Name())
	}
	return all, nil
}
