package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mlstudio/studio/localcluster"
)

// Live shows what runs now on one line that changes, above it what is done.
func Live(w io.Writer) Printer {
	l := &live{w: w, stop: make(chan struct{}), started: map[string]time.Time{}, detail: map[string]string{}}
	l.ticker.Go(l.tick)
	return l
}

type live struct {
	mu      sync.Mutex
	w       io.Writer
	running []string
	started map[string]time.Time
	// detail is how far a phase says to be.
	detail map[string]string
	frame  int
	stop   chan struct{}
	ended  sync.Once
	ticker sync.WaitGroup
}

const clear = "\r\x1b[K"

func (l *live) Event(e localcluster.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.State {
	case localcluster.Started:
		if _, known := l.started[e.Phase]; !known {
			l.running = append(l.running, e.Phase)
			l.started[e.Phase] = time.Now()
		}
		l.detail[e.Phase] = e.Message
	case localcluster.Done, localcluster.Failed:
		delete(l.started, e.Phase)
		for i, phase := range l.running {
			if phase == e.Phase {
				l.running = append(l.running[:i], l.running[i+1:]...)
				break
			}
		}
	}
	fmt.Fprint(l.w, clear)
	if text := line(e, "\x1b[32m", "\x1b[31m"); text != "" {
		fmt.Fprintln(l.w, text)
	}
	l.draw()
}

// tick moves the sign of life; time itself is the event here.
func (l *live) tick() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.mu.Lock()
			l.frame++
			l.draw()
			l.mu.Unlock()
		case <-l.stop:
			return
		}
	}
}

func (l *live) draw() {
	if len(l.running) == 0 {
		return
	}
	phase := l.running[len(l.running)-1]
	fmt.Fprintf(l.w, "%s%c     %-16s %6s  %s", clear, []rune("|/-\\")[l.frame%4], phase, Seconds(time.Since(l.started[phase])), l.detail[phase])
}

func (l *live) End() {
	l.ended.Do(func() {
		close(l.stop)
		l.ticker.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		fmt.Fprint(l.w, clear)
	})
}
