// Package follow watches an applied object to its end and streams the output of
// all its containers. It outlives the API server and the node: what was printed
// is known by its time, so that after a gap nothing is lost and nothing comes
// twice.
package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/mlstudio/studio/platform/runnable"
)

// Target is what to follow.
type Target struct {
	Object   *unstructured.Unstructured
	Runnable runnable.Runnable
	// Resource is the client of the object's kind in its namespace.
	Resource dynamic.ResourceInterface
	Core     corev1client.CoreV1Interface
	// Since is when the run began; zero for the object's creation, which the
	// server knows to the second only.
	Since time.Time
}

// Source is the container that a line comes from.
type Source struct{ Pod, Container string }

// Sink takes what is to be shown. Calls come one at a time.
type Sink interface {
	// Line is one line of output, without its end.
	Line(from Source, text []byte)
	// Notice is something that a person should know meanwhile.
	Notice(text string)
}

// Result is how it ended.
type Result struct {
	Outcome runnable.Outcome
	// ExitCode is the one that the first failing container ended with; 1 where a
	// run failed without one, 0 where it succeeded.
	ExitCode int
	Pods     []corev1.Pod
	// Took is the time from the beginning to the end as seen here.
	Took time.Duration
}

// ErrDeleted means that the object was deleted while it was followed.
var ErrDeleted = errors.New("it was deleted")

const (
	// settle is how long a reason for waiting must last to interest a person: most,
	// such as a volume that is being made, pass by themselves.
	settle = 2 * time.Second
	// drain is how long containers may run on after the object's end, as sidecars
	// do while they are being ended. There is no event for "will not end".
	drain = 10 * time.Second
)

// follower is one run of Run.
type follower struct {
	Target
	sink  Sink
	link  *link
	tails map[tailKey]*tail
	work  sync.WaitGroup
	mu    sync.Mutex // the sink's

	object *unstructured.Unstructured
	pods   map[types.UID]*corev1.Pod
	gone   bool
	// ending: the object is over, only output is still read.
	ending bool
}

type tailKey struct {
	pod       types.UID
	container string
}

// Run follows the target until it ends, is deleted (ErrDeleted) or ctx ends.
func Run(ctx context.Context, t Target, sink Sink) (*Result, error) {
	f := &follower{Target: t, sink: sink, object: t.Object, tails: map[tailKey]*tail{}, pods: map[types.UID]*corev1.Pod{}}
	f.link = &link{notice: f.notice}
	if f.Since.IsZero() {
		f.Since = t.Object.GetCreationTimestamp().Time
	}
	ctx, cancel := context.WithCancel(ctx)
	defer f.work.Wait()
	defer cancel()

	changes := make(chan change)
	f.watch(ctx, changes, "object", f.objects())
	f.watch(ctx, changes, "pod", f.podsOf())
	f.watch(ctx, changes, "event", f.warnings())
	return f.loop(ctx, changes)
}

func (f *follower) loop(ctx context.Context, changes <-chan change) (*Result, error) {
	seen := newWarnings(f.object.GetCreationTimestamp().Time)
	said, pending := "", ""
	patience := time.NewTimer(settle)
	defer patience.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case c := <-changes:
			switch c.what {
			case "object":
				f.takeObject(c)
			case "pod":
				f.takePods(ctx, c)
			case "event":
				seen.take(c, f.concerns, f.notice)
				continue
			}
		case <-patience.C:
			if pending != "" && pending != said {
				said = pending
				f.notice("waiting: " + said)
			}
			continue
		}
		o := f.outcome()
		if o.Done() || f.gone {
			if err := f.finish(ctx, changes); err != nil {
				return nil, err
			}
			if o = f.outcome(); o.Done() {
				return f.result(o), nil
			}
			return nil, ErrDeleted
		}
		why := ""
		if o.State == runnable.Waiting || o.State == runnable.Suspended {
			why = o.Reason
		}
		if why != pending {
			pending = why
			patience.Reset(settle)
		}
	}
}

func (f *follower) outcome() runnable.Outcome { return f.Runnable.Outcome(f.object, f.podList()) }

func (f *follower) podList() []corev1.Pod {
	var list []corev1.Pod
	for _, p := range f.pods {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b corev1.Pod) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

func (f *follower) takeObject(c change) {
	found := false
	for _, item := range c.items {
		u, ok := item.(*unstructured.Unstructured)
		if !ok || u.GetUID() != f.object.GetUID() {
			continue
		}
		found = c.kind != watch.Deleted
		f.object = u
	}
	f.gone = f.gone || (!found && (c.whole || c.kind == watch.Deleted))
}

// takePods brings the pods up to date and starts a tail for each new container.
func (f *follower) takePods(ctx context.Context, c change) {
	if c.whole {
		listed := map[types.UID]bool{}
		for _, item := range c.items {
			listed[item.(*corev1.Pod).UID] = true
		}
		for uid := range f.pods {
			if !listed[uid] {
				f.dropPod(uid)
			}
		}
	}
	for _, item := range c.items {
		p, ok := item.(*corev1.Pod)
		if !ok || !f.mine(p) {
			continue
		}
		if c.kind == watch.Deleted {
			f.pods[p.UID] = p
			f.update(ctx, p)
			f.dropPod(p.UID)
			continue
		}
		f.pods[p.UID] = p
		f.update(ctx, p)
	}
}

// mine leaves out pods of an earlier object of the same name.
func (f *follower) mine(p *corev1.Pod) bool {
	return p.UID == f.object.GetUID() || !p.CreationTimestamp.Time.Before(f.object.GetCreationTimestamp().Time)
}

func (f *follower) update(ctx context.Context, p *corev1.Pod) {
	for _, s := range statuses(p) {
		key := tailKey{p.UID, s.Name}
		t, ok := f.tails[key]
		if !ok {
			t = newTail(f.Core.Pods(p.Namespace), Source{p.Name, s.Name}, f.link, f.line, f.notice)
			f.tails[key] = t
			if f.ending {
				t.end(false)
			}
			f.work.Go(func() { t.run(ctx) })
		}
		t.see(view(p, s))
	}
}

func (f *follower) dropPod(uid types.UID) {
	for key, t := range f.tails {
		if key.pod == uid {
			t.end(true)
		}
	}
}

// finish reads what the containers wrote to its end.
func (f *follower) finish(ctx context.Context, changes <-chan change) error {
	// The object's watch may be ahead of the pods': look once more, so that no pod
	// is missed.
	pods, err := f.lastPods(ctx)
	if err != nil {
		return err
	}
	f.ending = true
	f.takePods(ctx, change{whole: true, items: pods})
	for _, t := range f.tails {
		t.end(false)
	}
	late := time.NewTimer(drain)
	defer late.Stop()
	for {
		open := f.openTail()
		if open == nil {
			return nil
		}
		select {
		case <-open.done:
		case c := <-changes:
			switch c.what {
			case "object":
				f.takeObject(c)
			case "pod":
				f.takePods(ctx, c)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			f.notice("some containers still run; their output ends here")
			return nil
		}
	}
}

func (f *follower) openTail() *tail {
	for _, t := range f.tails {
		select {
		case <-t.done:
		default:
			return t
		}
	}
	return nil
}

func (f *follower) lastPods(ctx context.Context) ([]runtime.Object, error) {
	for wait := newBackoff(); ; wait.sleep(ctx) {
		list, err := f.Core.Pods(f.object.GetNamespace()).List(ctx, f.Runnable.Pods(f.object))
		if err == nil {
			f.link.found()
			return meta.ExtractList(list)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f.link.lost(err)
	}
}

func (f *follower) result(o runnable.Outcome) *Result {
	r := &Result{Outcome: o, Pods: f.podList(), Took: time.Since(f.Since)}
	if !o.OK() {
		r.ExitCode = exitCode(r.Pods)
	}
	return r
}

func (f *follower) line(from Source, text []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sink.Line(from, text)
}

func (f *follower) notice(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sink.Notice(text)
}

// String names a source as it is shown before its lines.
func (s Source) String() string { return fmt.Sprintf("%s/%s", s.Pod, s.Container) }
