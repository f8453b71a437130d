package main

import (
	"strings"
	"testing"
	"time"
)

func TestReportPrintsOneObjectALine(t *testing.T) {
	var out strings.Builder
	b := &bench{suffix: ".rootless", slack: 1, out: &out}
	if err := b.report(row{Bench: "up.warm", Studio: 3.00049, Peer: 2, Unit: "s", N: 5}, limit{ratio: 1.6}); err != nil {
		t.Fatal(err)
	}
	want := `{"bench":"up.warm.rootless","studio":3,"peer":2,"unit":"s","ratio":1.5,"n":5}` + "\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if len(b.exceeded) != 0 {
		t.Errorf("exceeded: %v", b.exceeded)
	}
}

func TestLimits(t *testing.T) {
	tests := map[string]struct {
		limit limit
		slack float64
		fails bool
	}{
		"none":               {limit{}, 1, false},
		"kept":               {limit{studio: 3, ratio: 1.5}, 1, false},
		"ratio exceeded":     {limit{ratio: 1.4}, 1, true},
		"figure exceeded":    {limit{studio: 2.9}, 1, true},
		"within the slack":   {limit{studio: 2.9, ratio: 1.4}, 1.5, false},
		"beyond the slack":   {limit{ratio: 0.9}, 1.5, true},
		"no slack by itself": {limit{studio: 2.999}, 1, true},
		"enough":             {limit{least: 1.5}, 1, false},
		"too little":         {limit{least: 1.6}, 1, true},
		"little, with slack": {limit{least: 1.6}, 1.5, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := &bench{slack: tc.slack, out: new(strings.Builder)}
			if err := b.report(row{Bench: "x", Studio: 3, Peer: 2, Unit: "s", N: 1}, tc.limit); err != nil {
				t.Fatal(err)
			}
			if got := len(b.exceeded) > 0; got != tc.fails {
				t.Errorf("exceeded: %v", b.exceeded)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	if got := median([]time.Duration{4, 1, 2}); got != 2 {
		t.Errorf("of three: %d", got)
	}
	if got := median([]time.Duration{4, 1, 2, 10}); got != 3 {
		t.Errorf("of four: %d", got)
	}
}
