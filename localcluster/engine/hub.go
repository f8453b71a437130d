package engine

import (
	"context"
	"sync"
	"time"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/engine/client"
)

// keep is how many messages a client may have missed and still resume; beyond
// that it gets the whole state again.
const keep = 1024

// hub holds the engine's state and tells it to any number of watchers. A
// watcher reads from the hub's own list at its own speed, so that a slow one
// delays nobody.
type hub struct {
	mu      sync.Mutex
	state   client.State
	seq     uint64
	recent  []client.Message
	changed chan struct{}
	needed  map[string]bool
}

// newHub makes a hub that is ready when all needed phases are done.
func newHub(state client.State, needed ...string) *hub {
	h := &hub{state: state, changed: make(chan struct{}), needed: map[string]bool{}}
	for _, n := range needed {
		h.needed[n] = true
	}
	return h
}

// event records a step of progress.
func (h *hub) event(e localcluster.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.State != localcluster.Info {
		h.setPhase(e)
	}
	ready := h.allDone() && !h.state.Stopping
	m := client.Message{Event: &e}
	if ready != h.state.Ready {
		h.state.Ready = ready
		m.Ready = &ready
	}
	h.publish(m)
}

func (h *hub) setPhase(e localcluster.Event) {
	for i := range h.state.Phases {
		if h.state.Phases[i].Phase == e.Phase {
			h.state.Phases[i] = e
			return
		}
	}
	h.state.Phases = append(h.state.Phases, e)
}

func (h *hub) allDone() bool {
	done := 0
	for _, p := range h.state.Phases {
		if h.needed[p.Phase] && p.State == localcluster.Done {
			done++
		}
	}
	return done == len(h.needed)
}

// update changes the state and tells it whole.
func (h *hub) update(f func(*client.State)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.state)
	whole := h.copyState()
	h.publish(client.Message{State: &whole})
}

func (h *hub) process(p localcluster.Process) {
	h.update(func(s *client.State) {
		for i := range s.Processes {
			if s.Processes[i].Name == p.Name {
				s.Processes[i] = p
				return
			}
		}
		s.Processes = append(s.Processes, p)
	})
}

// files tells a change in a project's folder.
func (h *hub) files(f client.Files) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.Time = time.Now()
	h.publish(client.Message{Files: &f})
}

func (h *hub) publish(m client.Message) {
	h.seq++
	m.Seq = h.seq
	h.recent = append(h.recent, m)
	if len(h.recent) > keep {
		h.recent = append([]client.Message(nil), h.recent[len(h.recent)-keep/2:]...)
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *hub) copyState() client.State {
	s := h.state
	s.Phases = append([]localcluster.Event{}, s.Phases...)
	s.Processes = append([]localcluster.Process{}, s.Processes...)
	s.Warnings = append([]string(nil), s.Warnings...)
	return s
}

func (h *hub) snapshot() client.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.copyState()
}

// watch calls f for each message after since, from the whole state on where
// since is 0 or too old, until f fails or ctx ends.
func (h *hub) watch(ctx context.Context, since uint64, f func(client.Message) error) error {
	for {
		h.mu.Lock()
		var batch []client.Message
		oldest := h.seq + 1 - uint64(len(h.recent))
		if since == 0 || since+1 < oldest || since > h.seq {
			s := h.copyState()
			batch = []client.Message{{Seq: h.seq, State: &s}}
		} else {
			batch = append(batch, h.recent[since+1-oldest:]...)
		}
		changed := h.changed
		h.mu.Unlock()
		for _, m := range batch {
			if err := f(m); err != nil {
				return err
			}
			since = m.Seq
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// wait returns when a phase is done.
func (h *hub) wait(ctx context.Context, phase string) error {
	for {
		h.mu.Lock()
		changed := h.changed
		for _, p := range h.state.Phases {
			if p.Phase == phase && p.State == localcluster.Done {
				h.mu.Unlock()
				return nil
			}
		}
		h.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
