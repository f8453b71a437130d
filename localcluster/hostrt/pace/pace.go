// Package pace turns processor time that was used into how much is used now.
package pace

import (
	"sync"
	"time"
)

// Window is the least time over which a pace means something; the kubelet looks
// each ten seconds.
const Window = 5 * time.Second

// sample is how much processor time was used at a moment.
type sample struct {
	at  time.Time
	cpu uint64
}

// Samples remember, for each container and pod, two earlier readings.
type Samples struct {
	mu sync.Mutex
	of map[string][2]sample
}

// Of is how much of a processor is used, in billionths: since a reading that
// is old enough, or since the start.
func (s *Samples) Of(id string, start, now time.Time, cpu uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[string][2]sample{}
	}
	known, ok := s.of[id]
	if !ok {
		known = [2]sample{{start, 0}, {start, 0}}
	}
	if now.Sub(known[1].at) >= Window {
		known = [2]sample{known[1], {now, cpu}}
	}
	s.of[id] = known
	base := known[0]
	if d := now.Sub(base.at); d > 0 && cpu > base.cpu {
		return uint64(float64(cpu-base.cpu) / d.Seconds())
	}
	return 0
}

// Forget drops what went away.
func (s *Samples) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, id)
}
