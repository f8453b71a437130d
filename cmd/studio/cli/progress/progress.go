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

// Once passes each event on once. The engine tells its whole state again when
// something else in it changed.
func Once(show localcluster.Progress) localcluster.Progress {
	type key struct {
		phase, message string
		state          localcluster.State
		at             int64
	}
	seen := map[key]bool{}
	return func(e localcluster.Event) {
		k := key{e.Phase, e.Message, e.State, e.Time.UnixNano()}
		if !seen[k] {
			seen[k] = true
			show(e)
		}
	}
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
