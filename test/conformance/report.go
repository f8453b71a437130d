package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// tally is what became of the chosen specs.
type tally struct {
	// The three that count: specs of the baseline, and skips with them.
	passed, failed, skipped []string
	// missing are specs of the baseline that the test binary does not know.
	missing []string
	// again passed at the second attempt; they count as passed.
	again []string
	// beyond are specs outside the baseline, with what became of them.
	beyond []string
	// why is the first line of a failure, by spec; reasons are those of the skips.
	why map[string]string
	// broken are failures of the suite itself, before or after its specs.
	broken []string
}

func readReport(file string) (types.Report, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return types.Report{}, fmt.Errorf("reading the report: %w", err)
	}
	var all []types.Report
	if err := json.Unmarshal(raw, &all); err != nil {
		return types.Report{}, fmt.Errorf("reading the report %s: %w", file, err)
	}
	if len(all) != 1 {
		return types.Report{}, fmt.Errorf("the report %s is of %d suites, not of one", file, len(all))
	}
	return all[0], nil
}

// count compares the report with the selection. A spec of the baseline that did
// not run, for no reason that is written down, has failed.
func count(report types.Report, s selection) *tally {
	t := &tally{why: map[string]string{}}
	seen := map[string]bool{}
	for _, spec := range report.SpecReports {
		name := spec.FullText()
		if spec.LeafNodeType != types.NodeTypeIt {
			if spec.Failed() {
				t.broken = append(t.broken, fmt.Sprintf("%s: %s", spec.LeafNodeType, firstLine(spec.FailureMessage())))
			}
			continue
		}
		if !s.within(name) {
			continue
		}
		seen[name] = true
		t.add(spec, name, s)
	}
	for name := range s.baseline {
		if !seen[name] {
			t.missing = append(t.missing, name)
		}
	}
	slices.Sort(t.missing)
	return t
}

func (t *tally) add(spec types.SpecReport, name string, s selection) {
	reason, left := s.skipped[name]
	state := spec.State
	if state == types.SpecStatePassed && spec.NumAttempts > 1 {
		t.again = append(t.again, name)
	}
	switch {
	case left:
		t.why[name] = reason
		t.skipped = append(t.skipped, name)
	case !s.baseline[name] && !s.everything:
		t.beyond = append(t.beyond, fmt.Sprintf("%s %s", state, name))
	case state == types.SpecStatePassed:
		t.passed = append(t.passed, name)
	case state == types.SpecStateSkipped && spec.Failure.Message != "":
		t.why[name] = firstLine(spec.Failure.Message)
		t.skipped = append(t.skipped, name)
	default:
		t.why[name] = fmt.Sprintf("%s: %s (%s:%d)", state, firstLine(spec.FailureMessage()), spec.FailureLocation().FileName, spec.FailureLocation().LineNumber)
		t.failed = append(t.failed, name)
	}
}

// firstLine of a message, the rest of which is in the logs.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

func (t *tally) bad() bool {
	return len(t.failed)+len(t.missing)+len(t.broken) > 0 || len(t.passed) == 0
}

// explain prints every spec that did not simply pass.
func (t *tally) explain(out io.Writer) {
	for _, part := range []struct {
		title string
		specs []string
	}{
		{"Failed", t.failed},
		{"Unknown to this version of the tests", t.missing},
		{"Failed outside the specs", t.broken},
		{"Skipped", t.skipped},
		{"Passed at the second attempt", t.again},
		{"Outside the baseline, not counted", t.beyond},
	} {
		if len(part.specs) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s:\n", part.title)
		for _, name := range part.specs {
			fmt.Fprintf(out, "  %s\n", name)
			if why := t.why[name]; why != "" {
				fmt.Fprintf(out, "      %s\n", why)
			}
		}
	}
}

func (t *tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", len(t.passed), len(t.failed)+len(t.missing), len(t.skipped))
}
