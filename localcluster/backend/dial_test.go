package backend

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// refusing dials nothing at bad addresses and notes all that it was asked for.
type refusing struct {
	bad   map[string]bool
	asked []string
}

func (r *refusing) dial(_ context.Context, _, address string) (net.Conn, error) {
	r.asked = append(r.asked, address)
	if r.bad[address] {
		return nil, errors.New("refused")
	}
	a, b := net.Pipe()
	b.Close()
	return a, nil
}

func TestDialTakesTurns(t *testing.T) {
	r := &refusing{bad: map[string]bool{"b": true}}
	b := &Backend{dial: r.dial, changed: make(chan struct{})}
	b.set([]string{"a", "b", "c"}, false, nil)
	for range 3 {
		if _, err := b.Dial(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(r.asked); got != 4 || r.asked[0] != "a" || r.asked[1] != "b" || r.asked[2] != "c" || r.asked[3] != "c" {
		t.Errorf("asked %v", r.asked)
	}
	// With affinity the one that answered is kept.
	r.asked = nil
	b.set([]string{"b", "c", "d"}, true, nil)
	b.next = 0
	for range 3 {
		if _, err := b.Dial(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(r.asked); got != 4 || r.asked[1] != "c" || r.asked[2] != "c" || r.asked[3] != "c" {
		t.Errorf("with affinity: asked %v", r.asked)
	}
	r.bad = map[string]bool{"c": true}
	b.set([]string{"c"}, false, nil)
	if _, err := b.Dial(t.Context()); err == nil {
		t.Error("every endpoint refused, and the dial succeeded")
	}
}

func TestDialWaits(t *testing.T) {
	r := &refusing{}
	b := &Backend{dial: r.dial, changed: make(chan struct{}), why: ErrNone}
	done := make(chan error, 1)
	go func() {
		_, err := b.Dial(t.Context())
		done <- err
	}()
	b.set(nil, false, ErrNone)
	b.set([]string{"a"}, false, nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.set(nil, false, ErrNone)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.Dial(ctx); !errors.Is(err, ErrNone) {
		t.Errorf("without an endpoint: %v", err)
	}
}
