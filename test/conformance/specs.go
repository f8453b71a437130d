package main

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed baseline.txt
var baselineText string

//go:embed ci.txt
var ciText string

//go:embed skip.txt
var skipText string

// texts are the three lists of specs.
type texts struct{ baseline, ci, skip string }

var lists = texts{baselineText, ciText, skipText}

// selection is what one run is about.
type selection struct {
	// baseline holds the chosen specs of the baseline; the run is counted by them.
	baseline map[string]bool
	// everything counts: there is no baseline of the special specs.
	everything bool
	// skipped are not run, with the reason.
	skipped map[string]string
	// labels, focus and skip are ginkgo's filters: all three must let a spec pass.
	labels      string
	focus, skip []string
	// within is true of the names of chosen specs, in the baseline or not.
	within func(name string) bool
}

var special = regexp.MustCompile(`\[Serial\]|\[Slow\]|\[Disruptive\]`)

// choose says which specs a run is about: all, those of a list, those that the
// focus matches, or the special ones.
func choose(o options, mode string, from texts) (selection, error) {
	s := selection{baseline: map[string]bool{}, skipped: map[string]string{}, labels: "Conformance && !(Serial || Slow || Disruptive)"}
	if s.everything = o.full; o.full {
		s.labels = "Conformance && (Serial || Slow || Disruptive)"
	}
	if o.focus.String() != "" {
		s.focus = []string{o.focus.String()}
	}
	listed := map[string]bool{}
	if o.ci {
		for _, name := range lines(from.ci) {
			listed[name] = true
			s.focus = append(s.focus, whole(name))
		}
	}
	s.within = func(name string) bool {
		return strings.Contains(name, "[Conformance]") && special.MatchString(name) == o.full &&
			(!o.ci || listed[name]) && o.focus.MatchString(name)
	}
	known := map[string]bool{}
	for _, name := range lines(from.baseline) {
		known[name] = true
		if s.within(name) {
			s.baseline[name] = true
		}
	}
	for name := range listed {
		if !known[name] {
			return s, fmt.Errorf("ci.txt: %q is no spec of the baseline", name)
		}
	}
	if len(s.baseline) == 0 && !o.full {
		return s, fmt.Errorf("no spec of the baseline matches %q", o.focus)
	}
	skips, err := parseSkips(from.skip, mode)
	if err != nil {
		return s, err
	}
	for name, why := range skips {
		if s.within(name) {
			s.skipped[name] = why
			s.skip = append(s.skip, whole(name))
		}
	}
	return s, nil
}

// whole matches this spec and no other. ginkgo puts the suite's name before it.
func whole(name string) string { return " " + regexp.QuoteMeta(name) + "$" }

// lines without comments and empty ones.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// parseSkips reads lines of MODE SPEC  # reason; without a reason none is accepted.
func parseSkips(text, mode string) (map[string]string, error) {
	skips := map[string]string{}
	for _, line := range lines(text) {
		which, rest, _ := strings.Cut(line, " ")
		name, why, ok := strings.Cut(rest, "  # ")
		if !ok || strings.TrimSpace(why) == "" {
			return nil, fmt.Errorf("skip.txt: %q gives no reason; write MODE SPEC  # reason", line)
		}
		switch which {
		case "both", mode:
			skips[name] = why
		case "root", "rootless":
		default:
			return nil, fmt.Errorf("skip.txt: %q: the mode is both, root or rootless", line)
		}
	}
	return skips, nil
}
