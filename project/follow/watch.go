package follow

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// change is news of a watch: the whole list at first and after each gap, then
// single objects.
type change struct {
	what  string
	whole bool
	kind  watch.EventType
	items []runtime.Object
}

// listWatch is how one kind is read.
type listWatch struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// watch sends the changes of a kind until ctx ends. A gap, as when the API server
// starts again, ends in a new list.
func (f *follower) watch(ctx context.Context, out chan<- change, what string, lw listWatch) {
	send := func(c change) {
		c.what = what
		select {
		case out <- c:
		case <-ctx.Done():
		}
	}
	f.work.Go(func() {
		wait := newBackoff()
		for ctx.Err() == nil {
			if err := listAndWatch(ctx, lw, f.link, send, wait); err != nil && ctx.Err() == nil {
				f.link.lost(err)
				wait.sleep(ctx)
			}
		}
	})
}

// listAndWatch returns an error when the server does not answer, and nil when a
// watch ended in order.
func listAndWatch(ctx context.Context, lw listWatch, l *link, send func(change), wait *backoff) error {
	list, err := lw.list(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	l.found()
	wait.reset()
	items, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("reading a list: %w", err)
	}
	send(change{whole: true, items: items})
	at, err := meta.ListAccessor(list)
	if err != nil {
		return fmt.Errorf("reading a list: %w", err)
	}
	w, err := lw.watch(ctx, metav1.ListOptions{ResourceVersion: at.GetResourceVersion()})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			return nil // too old a version, or a server that stops: list again
		}
		send(change{kind: e.Type, items: []runtime.Object{e.Object}})
	}
	return nil
}

// link knows whether the API server answers and tells the person once when it
// stops and once when it is back.
type link struct {
	mu     sync.Mutex
	notice func(string)
	since  time.Time
	told   bool
}

// quietGap is how long the server may be away without a word: a broken
// connection is often back at the next try.
const quietGap = 500 * time.Millisecond

func (l *link) lost(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.since.IsZero():
		l.since = time.Now()
	case !l.told && time.Since(l.since) > quietGap:
		l.told = true
		l.notice(fmt.Sprintf("the engine does not answer (%v); the run goes on, waiting for the engine. If it does not come back: studio up", short(err)))
	}
}

func (l *link) found() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told {
		l.notice(fmt.Sprintf("connected again after %.1fs", time.Since(l.since).Seconds()))
	}
	l.since, l.told = time.Time{}, false
}

// backoff spaces out tries. No event tells that a server listens again.
type backoff struct{ next time.Duration }

const (
	firstTry = 100 * time.Millisecond
	lastTry  = time.Second
)

func newBackoff() *backoff { return &backoff{next: firstTry} }

func (b *backoff) reset() { b.next = firstTry }

func (b *backoff) sleep(ctx context.Context) {
	t := time.NewTimer(b.next)
	defer t.Stop()
	b.next = min(b.next*2, lastTry)
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
