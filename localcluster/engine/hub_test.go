package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/engine/client"
)

var errEnough = errors.New("enough")

func collect(t *testing.T, h *hub, since uint64, n int) []client.Message {
	t.Helper()
	var got []client.Message
	err := h.watch(t.Context(), since, func(m client.Message) error {
		if got = append(got, m); len(got) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("watching ended with %v after %d messages", err, len(got))
	}
	return got
}

func TestStateThenChangesThenResume(t *testing.T) {
	h := newHub(client.State{Version: "1"}, "api", "node")
	h.event(localcluster.Event{Phase: "api", State: localcluster.Done})
	first := collect(t, h, 0, 1)[0]
	if first.State == nil || len(first.State.Phases) != 1 || first.State.Ready {
		t.Fatalf("first message %+v, want the whole state, not ready", first)
	}
	h.event(localcluster.Event{Phase: "node", State: localcluster.Started})
	h.event(localcluster.Event{Phase: "node", State: localcluster.Done})
	rest := collect(t, h, first.Seq, 2)
	if rest[0].Ready != nil || rest[1].Ready == nil || !*rest[1].Ready {
		t.Errorf("ready came with %+v; want it with the last needed phase", rest)
	}
	h.event(localcluster.Event{Phase: "node", State: localcluster.Failed})
	if m := collect(t, h, rest[1].Seq, 1)[0]; m.Ready == nil || *m.Ready {
		t.Errorf("a failed phase left the engine ready: %+v", m)
	}
}

func TestTooOldASequenceGetsTheWholeState(t *testing.T) {
	h := newHub(client.State{})
	for i := range 3 * keep {
		h.event(localcluster.Event{Phase: fmt.Sprint(i % 7), State: localcluster.Done})
	}
	for _, since := range []uint64{1, 99999} {
		if m := collect(t, h, since, 1)[0]; m.State == nil || m.Seq != 3*keep {
			t.Errorf("since %d: %+v, want the whole state", since, m)
		}
	}
	if m := collect(t, h, 3*keep-1, 1)[0]; m.Event == nil {
		t.Errorf("the last event alone was asked for, got %+v", m)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := newHub(client.State{}).watch(ctx, 0, func(client.Message) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("watching ended with %v", err)
	}
}
