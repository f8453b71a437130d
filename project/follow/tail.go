package follow

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// tail reads the output of one container through all of its starts.
type tail struct {
	pods   corev1client.PodInterface
	from   Source
	link   *link
	line   func(Source, []byte)
	notice func(string)
	cursor cursor
	// read is the last start whose output has been read to its end.
	read string
	// piece is a last line without an end, when one was read.
	piece []byte
	done  chan struct{}

	mu      sync.Mutex
	now     instance
	last    bool // no further start will come
	gone    bool // the pod is gone
	changed chan struct{}
}

func newTail(pods corev1client.PodInterface, from Source, l *link, line func(Source, []byte), notice func(string)) *tail {
	return &tail{pods: pods, from: from, link: l, line: line, notice: notice, done: make(chan struct{}), changed: make(chan struct{})}
}

// see takes the newest status.
func (t *tail) see(v instance) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v != t.now {
		t.now = v
		t.tell()
	}
}

// end says that no further start will come, or that the pod is gone.
func (t *tail) end(gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = true
	t.gone = t.gone || gone
	t.tell()
}

func (t *tail) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tail) state() (v instance, last, gone bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now, t.last || t.now.final, t.gone, t.changed
}

// run reads until there is nothing left to come.
func (t *tail) run(ctx context.Context) {
	defer close(t.done)
	wait := newBackoff()
	for ctx.Err() == nil {
		v, last, gone, changed := t.state()
		if v.id == "" || v.id == t.read {
			if last || gone {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if t.step(ctx, v, gone) {
			wait.reset()
			continue
		}
		if gone {
			return // what could be read has been
		}
		// The stream broke, or the status is not there yet: whichever comes first,
		// news or the next try. A stream that breaks tells no reason.
		t.pause(ctx, wait, changed)
	}
}

func (t *tail) pause(ctx context.Context, wait *backoff, changed <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	wait.sleep(ctx)
}

// step reads what there is of the last starts. It returns true when it got on.
func (t *tail) step(ctx context.Context, v instance, gone bool) bool {
	// A start that is over and was followed by another: the node keeps one back.
	if v.before != "" && v.before != t.read {
		switch err := t.stream(ctx, &corev1.PodLogOptions{Previous: true}); {
		case err == nil, noOutput(err), apierrors.IsNotFound(err):
			t.read = v.before
		default:
			return false
		}
	}
	if !v.ended {
		// To its end, or until the connection breaks: the status tells which.
		before := t.cursor
		err := t.stream(ctx, &corev1.PodLogOptions{Follow: true})
		return err == nil && t.cursor != before
	}
	// The container has exited, so one reading gives the rest. It is complete when
	// the next one finds nothing more: a node that is killed meanwhile ends it early
	// and in good order.
	before := t.cursor
	switch err := t.stream(ctx, &corev1.PodLogOptions{}); {
	case err == nil && t.cursor != before:
		return true
	case err == nil:
		t.read = v.id
		return true
	case apierrors.IsNotFound(err) || gone:
		t.read = v.id
		return true
	case noOutput(err):
		return t.refused(v, err)
	}
	return false
}

// noOutput tells whether the node has nothing of this container any more.
func noOutput(err error) bool {
	var words nodeError
	return apierrors.IsBadRequest(err) || errors.As(err, &words)
}

// refused looks at a node that has no output for a container that has exited.
func (t *tail) refused(v instance, err error) bool {
	if now, _, _, _ := t.state(); now != v {
		return true // it has been started again meanwhile
	}
	t.notice(fmt.Sprintf("the output of %s can not be read: %v", t.from, err))
	t.read = v.id
	return true
}

var errCut = errors.New("the output ends within a line")

// stream passes on what is new and returns nil at the end of the stream. Without
// Follow that end is the end of the output.
func (t *tail) stream(ctx context.Context, o *corev1.PodLogOptions) error {
	o.Container, o.Timestamps = t.from.Container, true
	if !t.cursor.at.IsZero() {
		from := metav1.NewTime(since(t.cursor.at))
		o.SinceTime = &from
	}
	body, err := t.pods.GetLogs(t.from.Pod, o).Stream(ctx)
	if err != nil {
		var status apierrors.APIStatus
		if !errors.As(err, &status) {
			t.link.lost(err)
		}
		return err
	}
	defer body.Close()
	t.link.found()
	p := t.cursor.begin()
	r := bufio.NewReaderSize(body, 64<<10)
	for {
		raw, err := r.ReadBytes('\n')
		if refused := refusal(raw); refused != nil {
			return refused
		}
		if err == io.EOF && !o.Follow && len(raw) > 0 && !bytes.Equal(raw, t.piece) {
			// A line without an end: the last one, or the connection broke in it. It
			// is the last one when it is read a second time.
			t.piece = raw
			return errCut
		}
		if err == nil || (err == io.EOF && !o.Follow && len(raw) > 0) {
			if text, fresh := p.take(bytes.TrimSuffix(raw, []byte{'\n'})); fresh {
				t.line(t.from, text)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the output of %s: %w", t.from, err)
		}
	}
}
