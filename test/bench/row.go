package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"
)

// row is one figure. Ratio is Studio / Peer; N is how many times it was measured.
type row struct {
	Bench  string  `json:"bench"`
	Studio float64 `json:"studio"`
	Peer   float64 `json:"peer"`
	Unit   string  `json:"unit"`
	Ratio  float64 `json:"ratio"`
	N      int     `json:"n"`
}

// limit is what a figure may be at most: as such, as a ratio, or more than the
// peer's; and what the ratio must be at least where more is better. 0 is no limit.
type limit struct{ studio, ratio, more, least float64 }

// bench is one run: where it prints and what it found too slow.
type bench struct {
	bin, suffix string
	slack       float64
	kind        kindPeer
	out         io.Writer
	exceeded    []string
}

// report prints a figure and compares it with its limit. A limit that is
// exceeded is always told; only beyond the slack does it fail the run.
func (b *bench) report(r row, l limit) error {
	r.Bench += b.suffix
	r.Ratio = round(r.Studio / r.Peer)
	r.Studio, r.Peer = round(r.Studio), round(r.Peer)
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the row %s: %w", r.Bench, err)
	}
	if _, err := fmt.Fprintf(b.out, "%s\n", line); err != nil {
		return err
	}
	b.check(r.Bench+": "+r.Unit, r.Studio, l.studio)
	b.check(r.Bench+": ratio", r.Ratio, l.ratio)
	b.check(r.Bench+": "+r.Unit+" more than the peer", round(r.Studio-r.Peer), l.more)
	b.checkLeast(r.Bench+": ratio", r.Ratio, l.least)
	return nil
}

func (b *bench) checkLeast(what string, got, least float64) {
	if got >= least {
		return
	}
	text := fmt.Sprintf("%s %g is below the limit of %g", what, got, least)
	fmt.Fprintln(os.Stderr, text)
	if got*b.slack < least {
		b.exceeded = append(b.exceeded, text)
	}
}

func (b *bench) check(what string, got, most float64) {
	if most == 0 || got <= most {
		return
	}
	text := fmt.Sprintf("%s %g exceeds the limit of %g", what, got, most)
	fmt.Fprintln(os.Stderr, text)
	if got > most*b.slack {
		b.exceeded = append(b.exceeded, text)
	}
}

// round keeps three digits after the point.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// median of at least one duration.
func median(ds []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(ds))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
