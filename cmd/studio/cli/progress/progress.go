// Package progress shows what a cluster's driver reports while it works: a live
// line on a terminal, plain lines elsewhere, or one JSON object a line.
package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mlstudio/studio/localcluster"
)

// Printer shows events. End clears what is not meant to stay.
type Printer interface {
	Event(localcluster.Event)
	End()
}

// Quiet drops everything but failures, which the error repeats anyway.
func Quiet() Printer { return quiet{} }

type quiet struct{}

func (quiet) Event(localcluster.Event) {}
func (quiet) End()                     {}

// JSON writes one event a line.
func JSON(w io.Writer) Printer { return &jsonLines{enc: json.NewEncoder(w)} }

type jsonLines struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (j *jsonLines) Event(e localcluster.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = j.enc.Encode(e) // a reader that went away must not stop the work
}

func (*jsonLines) End() {}

// Lines writes one plain line when a phase ends and for each message.
func Lines(w io.Writer) Printer { return &lines{w: w} }

type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Event(e localcluster.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := line(e, "", ""); text != "" {
		fmt.Fprintln(l.w, text)
	}
}

func (*lines) End() {}

// line is the text of an event that stays; "" for one that does not.
func line(e localcluster.Event, good, bad string) string {
	reset := ""
	if good != "" {
		reset = "\x1b[0m"
	}
	detail := ""
	if e.Message != "" {
		detail = "  " + e.Message
	}
	switch e.State {
	case localcluster.Done:
		return fmt.Sprintf("%sok%s    %-16s %6s%s", good, reset, e.Phase, Seconds(took(e)), detail)
	case localcluster.Failed:
		return fmt.Sprintf("%sfail%s  %-16s %6s%s", bad, reset, e.Phase, Seconds(took(e)), detail)
	case localcluster.Info:
		return fmt.Sprintf("      %-16s       %s", e.Phase, detail)
	}
	return ""
}

func took(e localcluster.Event) time.Duration {
	return time.Duration(e.Seconds * float64(time.Second))
}

// Seconds prints a duration as people read it: 0.4s, 12s, 3m20s.
func Seconds(d time.Duration) string {
	switch s := d.Seconds(); {
	case s >= 59.5:
		return d.Round(time.Second).String()
	case s >= 9.95:
		return fmt.Sprintf("%.0fs", s)
	default:
		return fmt.Sprintf("%.1fs", s)
	}
}

// Live shows what runs now on one line that changes, above it what is done.
func Live(w io.Writer) Printer {
	l := &live{w: w, stop: make(chan struct{}), started: map[string]time.Time{}}
	l.ticker.Go(l.tick)
	return l
}

type live struct {
	mu      sync.Mutex
	w       io.Writer
	running []string
	started map[string]time.Time
	frame   int
	stop    chan struct{}
	ended   sync.Once
	ticker  sync.WaitGroup
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
	fmt.Fprintf(l.w, "%s%c     %-16s %6s", clear, []rune("|/-\\")[l.frame%4], phase, Seconds(time.Since(l.started[phase])))
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
