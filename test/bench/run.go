package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/mlstudio/studio/localcluster/datadir"
)

const firstLineRounds = 15

// benchRun: `studio run script.py` on a warm engine until the script's first
// line is on the standard output, beside `python script.py`.
func benchRun(ctx context.Context, b *bench) error {
	s, end, err := b.fresh(ctx)
	if err != nil {
		return err
	}
	defer end()
	project, err := os.MkdirTemp("", "sb-run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(project)
	script := filepath.Join(project, "script.py")
	if err := os.WriteFile(script, []byte("import json\nprint('first')\n"), 0o644); err != nil {
		return err
	}
	var ours, peers []time.Duration
	for round := range firstLineRounds + 1 {
		mine, err := firstLine(ctx, append(os.Environ(), datadir.Env+"="+s.dir.String(), string(s.mark)), filepath.Join(s.bin, "studio"), "run", script)
		if err != nil {
			return err
		}
		peer, err := firstLine(ctx, os.Environ(), "/usr/bin/python3", script)
		if err != nil {
			return err
		}
		if round > 0 { // the first only warms the caches
			ours, peers = append(ours, mine), append(peers, peer)
		}
	}
	r := row{Bench: "run.first_line", Studio: median(ours).Seconds(), Peer: median(peers).Seconds(), Unit: "s", N: firstLineRounds}
	return b.report(r, limit{more: 0.5})
}

// firstLine is the time from starting a program to the first line it writes. The
// program then runs to its end, which must be good.
func firstLine(ctx context.Context, env []string, program string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s: %w", program, err)
	}
	lines := bufio.NewScanner(out)
	found := lines.Scan() && lines.Text() == "first"
	took := time.Since(start)
	for lines.Scan() { // its end must not wait for a reader
	}
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%s %v: %w", program, args, err)
	}
	if !found {
		return 0, errors.New("the first line is not the script's")
	}
	return took, nil
}
