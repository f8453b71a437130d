package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// benchKine: a ConfigMap's create with SQLite's synchronous=FULL, which
// survives a power cut, beside NORMAL, which survives a killed process.
func benchKine(ctx context.Context, b *bench) error {
	const rounds, each = 3, 200
	times := map[string][]time.Duration{}
	for range rounds {
		for _, mode := range []string{"FULL", "NORMAL"} {
			ds, err := b.creates(ctx, mode, each)
			if err != nil {
				return err
			}
			times[mode] = append(times[mode], ds...)
		}
	}
	return b.report(row{Bench: "kine.create", Studio: ms(median(times["FULL"])), Peer: ms(median(times["NORMAL"])), Unit: "ms", N: rounds * each}, limit{})
}

func (b *bench) creates(ctx context.Context, mode string, n int) (ds []time.Duration, err error) {
	dir, remove, err := folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	p, err := b.startPeer(ctx, dir, "--synchronous", mode)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := p.stop(); err == nil {
			err = stopErr
		}
	}()
	c, err := client(dir)
	if err != nil {
		return nil, err
	}
	for i := range n {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m-%04d", i)}, Data: map[string]string{"key": "value"}}
		start := time.Now()
		if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, m, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("creating a ConfigMap with synchronous=%s: %w", mode, err)
		}
		ds = append(ds, time.Since(start))
	}
	return ds, nil
}
