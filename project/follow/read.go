package follow

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Read passes on what the object's containers have written so far, merged by
// time, the kept output of earlier starts first. It returns the pods it found.
func Read(ctx context.Context, t Target, sink Sink) ([]corev1.Pod, error) {
	list, err := t.Core.Pods(t.Object.GetNamespace()).List(ctx, t.Runnable.Pods(t.Object))
	if err != nil {
		return nil, fmt.Errorf("looking for the pods of %s %s: %w", t.Object.GetKind(), t.Object.GetName(), err)
	}
	var open []*reading
	defer func() {
		for _, r := range open {
			r.close()
		}
	}()
	for i := range list.Items {
		p := &list.Items[i]
		for _, s := range statuses(p) {
			r, err := start(ctx, t, p, s)
			if err != nil {
				return list.Items, err
			}
			if r != nil {
				open = append(open, r)
			}
		}
	}
	return list.Items, merge(open, sink)
}

// merge passes on the oldest line of all readings until they are at their ends.
func merge(open []*reading, sink Sink) error {
	for {
		var oldest *reading
		for _, r := range open {
			if r.ok && (oldest == nil || r.at.Before(oldest.at)) {
				oldest = r
			}
		}
		if oldest == nil {
			return nil
		}
		sink.Line(oldest.from, oldest.text)
		if err := oldest.next(); err != nil {
			return err
		}
	}
}

// reading is the output of one container, start by start, and the line it stands at.
type reading struct {
	from   Source
	bodies []io.ReadCloser
	starts []*bufio.Reader
	at     time.Time
	text   []byte
	ok     bool
}

// start opens the output of a container; nil where it has none yet.
func start(ctx context.Context, t Target, p *corev1.Pod, s corev1.ContainerStatus) (*reading, error) {
	v := view(p, s)
	if v.id == "" {
		return nil, nil
	}
	r := &reading{from: Source{p.Name, s.Name}}
	for _, previous := range []bool{true, false} {
		if previous && v.before == "" {
			continue
		}
		body, err := t.Core.Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: s.Name, Timestamps: true, Previous: previous}).Stream(ctx)
		if apierrors.IsBadRequest(err) || apierrors.IsNotFound(err) {
			continue // cleaned away meanwhile
		}
		if err != nil {
			r.close()
			return nil, fmt.Errorf("reading the output of %s: %w", r.from, err)
		}
		r.bodies = append(r.bodies, body)
		r.starts = append(r.starts, bufio.NewReaderSize(body, 64<<10))
	}
	return r, r.next()
}

// next moves to the next line; ok is false after the last one.
func (r *reading) next() error {
	for r.ok = false; !r.ok && len(r.starts) > 0; {
		raw, err := r.starts[0].ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("reading the output of %s: %w", r.from, err)
		}
		if len(raw) == 0 || refusal(raw) != nil {
			r.starts = r.starts[1:] // its end, or it has been cleaned away meanwhile
			continue
		}
		stamp, text, _ := bytes.Cut(bytes.TrimSuffix(raw, []byte{'\n'}), []byte{' '})
		if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil {
			r.at, r.text, r.ok = at, text, true
		}
	}
	return nil
}

func (r *reading) close() {
	for _, b := range r.bodies {
		b.Close()
	}
}
