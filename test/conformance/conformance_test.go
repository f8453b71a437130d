package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
)

const (
	pods    = "[sig-node] Pods should run [Conformance]"
	dns     = "[sig-network] DNS should answer [Conformance]"
	nodes   = "[sig-node] Two nodes are there [Conformance]"
	slow    = "[sig-node] Taints evict [Serial] [Conformance]"
	neither = "[sig-node] Pods may run"
)

var few = texts{
	baseline: "# a comment\n" + pods + "\n" + dns + "\n",
	ci:       dns + "\n",
	skip:     "both " + nodes + "  # one node\nrootless " + dns + "  # no addresses\n",
}

func chosen(change func(*options)) options {
	o := options{focus: regexp.MustCompile("")}
	change(&o)
	return o
}

func spec(name string, state types.SpecState, message string) types.SpecReport {
	s := types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: name, State: state, NumAttempts: 1}
	s.Failure.Message = message
	return s
}

func TestCountsSpecsOfTheBaseline(t *testing.T) {
	all := []types.SpecReport{
		spec(pods, types.SpecStatePassed, ""), spec(dns, types.SpecStateFailed, "no answer\nand more"), spec(nodes, types.SpecStateSkipped, ""),
		spec(slow, types.SpecStateSkipped, ""), spec(neither, types.SpecStateFailed, "is not ours to count"),
	}
	for _, c := range []struct {
		name, mode, want string
		change           func(*options)
	}{
		{"all as root", "root", "1 passed, 1 failed, 1 skipped", func(*options) {}},
		{"all as a plain user", "rootless", "1 passed, 0 failed, 2 skipped", func(*options) {}},
		{"the part of CI", "root", "0 passed, 1 failed, 0 skipped", func(o *options) { o.ci = true }},
		{"the special ones, which have no baseline", "root", "0 passed, 1 failed, 0 skipped", func(o *options) { o.full = true }},
		{"a focus", "root", "1 passed, 0 failed, 0 skipped", func(o *options) { o.focus = regexp.MustCompile("Pods") }},
	} {
		s, err := choose(chosen(c.change), c.mode, few)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := count(types.Report{SpecReports: all}, s).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// What did not run, and nobody wrote down why, has failed.
func TestNothingCountsAsPassedThatDidNotRun(t *testing.T) {
	s, err := choose(chosen(func(*options) {}), "root", few)
	if err != nil {
		t.Fatal(err)
	}
	for name, specs := range map[string][]types.SpecReport{
		"an empty report":     nil,
		"a filter that hid":   {spec(pods, types.SpecStateSkipped, ""), spec(dns, types.SpecStateSkipped, "")},
		"an interrupted run":  {spec(pods, types.SpecStateInterrupted, ""), spec(dns, types.SpecStateAborted, "")},
		"a suite that failed": {spec(pods, types.SpecStatePassed, ""), spec(dns, types.SpecStatePassed, ""), {LeafNodeType: types.NodeTypeBeforeSuite, State: types.SpecStateFailed}},
	} {
		if got := count(types.Report{SpecReports: specs}, s); !got.bad() {
			t.Errorf("%s: %s, and it does not count as bad", name, got)
		}
	}
}

func TestASpecMayPassAtTheSecondAttempt(t *testing.T) {
	s, err := choose(chosen(func(o *options) { o.ci = true }), "root", few)
	if err != nil {
		t.Fatal(err)
	}
	again := spec(dns, types.SpecStatePassed, "")
	again.NumAttempts = 2
	got := count(types.Report{SpecReports: []types.SpecReport{again}}, s)
	var said strings.Builder
	got.explain(&said)
	if got.bad() || !strings.Contains(said.String(), "second attempt") || !strings.Contains(said.String(), dns) {
		t.Errorf("%s, %q: want it passed and named", got, said.String())
	}
}

func TestListsAreRefusedWithTheirLine(t *testing.T) {
	for what, from := range map[string]texts{
		"gives no reason":         {baseline: pods, skip: "both " + pods},
		"the mode is":             {baseline: pods, skip: "always " + pods + "  # because"},
		"is no spec of the basel": {baseline: pods, ci: dns},
	} {
		_, err := choose(chosen(func(o *options) { o.ci = from.ci != "" }), "root", from)
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want one with %q", err, what)
		}
	}
}

// The lists of this folder: each of their lines is used by a run.
func TestOwnLists(t *testing.T) {
	for _, mode := range []string{"root", "rootless"} {
		for _, ci := range []bool{false, true} {
			s, err := choose(chosen(func(o *options) { o.ci = ci }), mode, lists)
			if err != nil {
				t.Fatal(err)
			}
			if ci && len(s.focus) != len(s.baseline) {
				t.Errorf("ci.txt: %d lines, %d specs", len(s.focus), len(s.baseline))
			}
			if !ci && len(s.baseline) != 424 {
				t.Errorf("baseline.txt has %d specs that a run can choose, want 424", len(s.baseline))
			}
		}
	}
	names := lines(baselineText)
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Errorf("baseline.txt has %d lines twice", len(names)-len(unique))
	}
}
