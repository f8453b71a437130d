package holder

import (
	"sync"

	"github.com/mlstudio/studio/localcluster"
)

// events keeps the last event of each phase and hands each new one to all
// who listen.
type events struct {
	mu        sync.Mutex
	order     []string
	phases    map[string]localcluster.Event
	listeners map[chan localcluster.Event]bool
}

func newEvents() *events {
	return &events{phases: map[string]localcluster.Event{}, listeners: map[chan localcluster.Event]bool{}}
}

// backlog is how many events a listener may be behind.
const backlog = 256

func (e *events) send(ev localcluster.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.State != localcluster.Info {
		if _, known := e.phases[ev.Phase]; !known {
			e.order = append(e.order, ev.Phase)
		}
		e.phases[ev.Phase] = ev
	}
	for l := range e.listeners {
		select {
		case l <- ev:
		default: // It has stopped reading; the phases' last events are kept for its next call.
			delete(e.listeners, l)
			close(l)
		}
	}
}

// clear forgets the phases: a new node half starts.
func (e *events) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.order, e.phases = nil, map[string]localcluster.Event{}
}

func (e *events) last() []localcluster.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lastLocked()
}

func (e *events) lastLocked() []localcluster.Event {
	var all []localcluster.Event
	for _, phase := range e.order {
		all = append(all, e.phases[phase])
	}
	return all
}

// listen returns what is known and a channel of what comes.
func (e *events) listen() ([]localcluster.Event, chan localcluster.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := make(chan localcluster.Event, backlog)
	e.listeners[l] = true
	return e.lastLocked(), l
}

func (e *events) leave(l chan localcluster.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listeners, l)
}
