package main

import (
	"context"
	"os"
	"time"

	"github.com/mlstudio/studio/test/proc"
)

// benchIdle: memory and processor time of the platform without work, beside a
// bare API server; one after the other, since they share the program's pages.
func benchIdle(ctx context.Context, b *bench) error {
	s, end, err := b.fresh(ctx)
	if err != nil {
		return err
	}
	defer end()
	ours, err := watchIdle(ctx, s.processes)
	if err != nil {
		return err
	}
	if err := s.down(ctx); err != nil {
		return err
	}

	peerDir, removePeer, err := folder()
	if err != nil {
		return err
	}
	defer removePeer()
	p, err := b.startPeer(ctx, peerDir)
	if err != nil {
		return err
	}
	peers, err := watchIdle(ctx, func() ([]proc.Process, error) {
		return []proc.Process{{PID: p.cmd.Process.Pid, Parent: os.Getpid()}}, nil
	})
	if err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}

	if err := b.report(row{Bench: "idle.memory", Studio: ours.memory, Peer: peers.memory, Unit: "MB", N: 1}, limit{studio: 600}); err != nil {
		return err
	}
	return b.report(row{Bench: "idle.cpu", Studio: ours.cpu, Peer: peers.cpu, Unit: "%", N: 1}, limit{ratio: 2})
}

// idle is what a group of processes costs: MB (10^6 bytes) at the end, and
// percent of one core over the minute.
type idle struct{ memory, cpu float64 }

// watchIdle lets a start's work settle for half a minute, then looks for a minute.
func watchIdle(ctx context.Context, processes func() ([]proc.Process, error)) (idle, error) {
	const settle, span = 30 * time.Second, time.Minute
	if err := pause(ctx, settle); err != nil {
		return idle{}, err
	}
	ps, err := processes()
	if err != nil {
		return idle{}, err
	}
	before, err := proc.CPU(ps)
	if err != nil {
		return idle{}, err
	}
	start := time.Now()
	if err := pause(ctx, span); err != nil {
		return idle{}, err
	}
	after, err := proc.CPU(ps)
	if err != nil {
		return idle{}, err
	}
	bytes, err := proc.Pss(ps)
	if err != nil {
		return idle{}, err
	}
	return idle{memory: float64(bytes) / 1e6, cpu: 100 * float64(after-before) / float64(time.Since(start))}, nil
}

// pause is the measurement's own length: no event ends it.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
