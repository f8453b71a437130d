// Package problem says what is wrong in a file that a person wrote: which file,
// which line, which field, and what to write instead.
package problem

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in one file.
type Problem struct {
	File string `json:"file"`
	// Line and Column count from 1; 0 where the place is not known.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Field is a path such as spec.trainer.command[0]; empty for the whole file.
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	// Cure is what to do about it; may be empty.
	Cure string `json:"cure,omitempty"`
}

// Error gives the form that editors and terminals turn into links: file:line:column.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	if p.Field != "" {
		fmt.Fprintf(&b, ": %s", p.Field)
	}
	fmt.Fprintf(&b, ": %s", p.Message)
	if p.Cure != "" {
		fmt.Fprintf(&b, "; %s", p.Cure)
	}
	return b.String()
}

// List is all that is wrong; a person mends several mistakes in one go.
type List []Problem

func (l List) Error() string {
	lines := make([]string, len(l))
	for i, p := range l {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Sort orders problems as they stand in the files.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
}

// Err is nil for an empty list, so that a typed nil never becomes an error.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}
