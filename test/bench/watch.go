package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// watcher sees pods become what is expected of them, by one watch.
type watcher struct {
	stream watch.Interface
	// seen carries the moment at which an expected pod was as expected.
	seen chan moment

	mu       sync.Mutex
	expected map[string]func(*corev1.Pod) bool
	// going are pods whose end is awaited.
	going map[string]bool
}

type moment struct {
	at  time.Time
	err error
}

func watchPods(ctx context.Context, c kubernetes.Interface) (*watcher, error) {
	pods := c.CoreV1().Pods(metav1.NamespaceDefault)
	now, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	// An API server ends a watch that falls behind when the machine is busy; this
	// one then goes on where it was.
	stream, err := watchtools.NewRetryWatcherWithContext(ctx, now.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return pods.Watch(ctx, o) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	w := &watcher{stream: stream, seen: make(chan moment, 1000), expected: map[string]func(*corev1.Pod) bool{}}
	go w.follow()
	return w, nil
}

func (w *watcher) follow() {
	for e := range w.stream.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			w.seen <- moment{err: fmt.Errorf("watching pods: %v", e.Object)}
			return
		}
		now := time.Now()
		w.mu.Lock()
		as, wanted := w.expected[p.Name]
		done := wanted && as(p)
		if done {
			delete(w.expected, p.Name)
		}
		if e.Type == watch.Deleted && w.going[p.Name] {
			delete(w.going, p.Name)
			done = true
		}
		w.mu.Unlock()
		switch {
		case done:
			w.seen <- moment{at: now}
		case wanted && p.Status.Phase == corev1.PodFailed:
			w.seen <- moment{err: fmt.Errorf("pod %s failed: %s %s", p.Name, p.Status.Reason, p.Status.Message)}
		}
	}
	w.seen <- moment{err: errors.New("watching pods: the watch ended")}
}

func (w *watcher) expect(pod string, phase corev1.PodPhase) {
	w.put(pod, func(p *corev1.Pod) bool { return p.Status.Phase == phase })
}

func (w *watcher) expectBound(pod string) {
	w.put(pod, func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
}

func (w *watcher) put(pod string, as func(*corev1.Pod) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected[pod] = as
}

// wait returns when n expected pods were seen: the moment of the last.
func (w *watcher) wait(ctx context.Context, n int) (time.Time, error) {
	const patience = 2 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last time.Time
	for range n {
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("waiting for pods: %w", ctx.Err())
		case m := <-w.seen:
			if m.err != nil {
				return last, m.err
			}
			last = m.at
		}
	}
	return last, nil
}

// emptied deletes all pods and returns when the watch has seen the last go.
func (w *watcher) emptied(ctx context.Context, c kubernetes.Interface) error {
	pods := c.CoreV1().Pods(metav1.NamespaceDefault)
	all, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing the pods: %w", err)
	}
	w.mu.Lock()
	w.going = map[string]bool{}
	for _, p := range all.Items {
		w.going[p.Name] = true
	}
	w.mu.Unlock()
	if err := pods.DeleteCollection(ctx, *metav1.NewDeleteOptions(0), metav1.ListOptions{}); err != nil {
		return fmt.Errorf("deleting the pods: %w", err)
	}
	_, err = w.wait(ctx, len(all.Items))
	return err
}

func (w *watcher) stop() { w.stream.Stop() }
