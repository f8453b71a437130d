package main

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// progress passes ginkgo's output on to the log and says now and then how far
// the run is. ginkgo writes one bullet for each spec that ends.
type progress struct {
	log, screen io.Writer
	// every is the time between two lines on the screen.
	every time.Duration
	of    int

	begun, said time.Time
	ended       int
}

const bullet = "•"

func (p *progress) Write(text []byte) (int, error) {
	now := time.Now()
	if p.begun.IsZero() {
		p.begun, p.said = now, now
	}
	p.ended += bytes.Count(text, []byte(bullet))
	if now.Sub(p.said) >= p.every {
		p.said = now
		fmt.Fprintf(p.screen, "  %d of %d specs after %s\n", p.ended, p.of, now.Sub(p.begun).Round(time.Second))
	}
	return p.log.Write(text)
}
