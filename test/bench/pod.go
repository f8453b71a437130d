package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// podFigures are the measurements, the cheap ones first. A figure of many pods
// at once is the time until the last has ended.
var podFigures = []struct {
	name   string
	volume bool
	atOnce int
	rounds int
	unit   string
	limit  limit
}{
	{"pod.one", false, 1, 100, "ms", limit{studio: 120, ratio: 12}},
	{"pod.volume", true, 1, 100, "ms", limit{studio: 450}},
	{"pod.ten", false, 10, 5, "s", limit{}},
	{"pod.hundred", false, 100, 3, "s", limit{}},
}

// benchPod: a pod of `true` from create to Succeeded, seen by a watch, beside
// creating and binding the same pod on an API server that has no node.
func benchPod(ctx context.Context, b *bench) error {
	ours, err := b.podsOnStudio(ctx)
	if err != nil {
		return err
	}
	peers, err := b.podsOnPeer(ctx)
	if err != nil {
		return err
	}
	for _, f := range podFigures {
		scale := ms
		if f.unit == "s" {
			scale = time.Duration.Seconds
		}
		r := row{Bench: f.name, Studio: scale(median(ours[f.name])), Peer: scale(median(peers[f.name])), Unit: f.unit, N: f.rounds}
		if err := b.report(r, f.limit); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) podsOnStudio(ctx context.Context) (map[string][]time.Duration, error) {
	s, end, err := b.fresh(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	c, err := client(s.dir)
	if err != nil {
		return nil, err
	}
	return measurePods(ctx, c, func(ctx context.Context, w *watcher, p *corev1.Pod) error {
		w.expect(p.Name, corev1.PodSucceeded)
		_, err := c.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
}

func (b *bench) podsOnPeer(ctx context.Context) (map[string][]time.Duration, error) {
	dir, remove, err := folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	p, err := b.startPeer(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	c, err := client(dir)
	if err != nil {
		return nil, err
	}
	// Admission wants the account that a controller would have made.
	_, err = c.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("creating the service account: %w", err)
	}
	return measurePods(ctx, c, func(ctx context.Context, w *watcher, p *corev1.Pod) error {
		w.expectBound(p.Name)
		if _, err := c.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
			return err
		}
		return c.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
			Target:     corev1.ObjectReference{Kind: "Node", Name: "studio"},
		}, metav1.CreateOptions{})
	})
}

// measurePods takes every figure; bring makes one pod and says what to expect of it.
func measurePods(ctx context.Context, c kubernetes.Interface, bring func(context.Context, *watcher, *corev1.Pod) error) (map[string][]time.Duration, error) {
	w, err := watchPods(ctx, c)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	times := map[string][]time.Duration{}
	warmUp := truePod("warm-up", false)
	if _, err := atOnce(ctx, w, []*corev1.Pod{warmUp}, bring); err != nil {
		return nil, err
	}
	for _, f := range podFigures {
		for round := range f.rounds {
			pods := make([]*corev1.Pod, f.atOnce)
			for i := range pods {
				pods[i] = truePod(fmt.Sprintf("%s-%d-%d", strings.ReplaceAll(f.name, ".", "-"), round, i), f.volume)
			}
			took, err := atOnce(ctx, w, pods, bring)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			times[f.name] = append(times[f.name], took)
		}
		err := c.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx, *metav1.NewDeleteOptions(0), metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("deleting the pods of %s: %w", f.name, err)
		}
	}
	return times, nil
}

// atOnce brings the pods together and returns when the last is as expected.
func atOnce(ctx context.Context, w *watcher, pods []*corev1.Pod, bring func(context.Context, *watcher, *corev1.Pod) error) (time.Duration, error) {
	start := time.Now()
	errs := make(chan error, len(pods))
	for _, p := range pods {
		go func() { errs <- bring(ctx, w, p) }()
	}
	for range pods {
		if err := <-errs; err != nil {
			return 0, fmt.Errorf("creating a pod: %w", err)
		}
	}
	last, err := w.wait(ctx, len(pods))
	if err != nil {
		return 0, err
	}
	return last.Sub(start), nil
}

// truePod does nothing and succeeds. With a volume it also has a token, as most pods do.
func truePod(name string, volume bool) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			RestartPolicy:                corev1.RestartPolicyNever,
			AutomountServiceAccountToken: &volume,
			Containers:                   []corev1.Container{{Name: "main", Image: "host", Command: []string{"true"}}},
		},
	}
}
