package main

import (
	"context"
	"time"
)

// benchUp: `studio up` until API, node and controllers are ready, beside a bare
// kube-apiserver on the same store until /readyz.
func benchUp(ctx context.Context, b *bench) error {
	const rounds, warm = 3, 2
	ours, peers := pair{}, pair{}
	for range rounds {
		if err := b.upTimes(ctx, warm, &ours, &peers); err != nil {
			return err
		}
	}
	err := b.report(row{Bench: "up.warm", Studio: median(ours.warm).Seconds(), Peer: median(peers.warm).Seconds(), Unit: "s", N: len(ours.warm)}, limit{ratio: 1.5})
	if err != nil {
		return err
	}
	return b.report(row{Bench: "up.first", Studio: median(ours.first).Seconds(), Peer: median(peers.first).Seconds(), Unit: "s", N: len(ours.first)}, limit{ratio: 2})
}

// pair holds the times on a new data directory and on an existing one.
type pair struct{ first, warm []time.Duration }

// upTimes starts both sides on new data directories, then again n times on
// what they left, turn by turn so that a busy moment meets both.
func (b *bench) upTimes(ctx context.Context, n int, ours, peers *pair) error {
	dir, remove, err := folder()
	if err != nil {
		return err
	}
	defer remove()
	peerDir, removePeer, err := folder()
	if err != nil {
		return err
	}
	defer removePeer()
	s := b.studio(dir)
	for i := range n + 1 {
		took, err := s.up(ctx)
		if err != nil {
			return err
		}
		if err := s.down(ctx); err != nil {
			return err
		}
		p, err := b.startPeer(ctx, peerDir)
		if err != nil {
			return err
		}
		if err := p.stop(); err != nil {
			return err
		}
		if i == 0 {
			ours.first, peers.first = append(ours.first, took), append(peers.first, p.ready)
		} else {
			ours.warm, peers.warm = append(ours.warm, took), append(peers.warm, p.ready)
		}
	}
	return nil
}
