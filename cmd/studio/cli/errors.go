package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// failure is an error as a person meets it: one sentence of cause, one of cure.
type failure struct {
	cause error
	cure  string
}

func (f *failure) Error() string { return f.cause.Error() }
func (f *failure) Unwrap() error { return f.cause }

// fail pairs an error with what to do about it.
func fail(cause error, cure string) error { return &failure{cause: cause, cure: cure} }

// exitError carries the exit code of a job. What happened is on the screen already.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("ended with exit code %d", e.code) }

// ExitCode is what the program ends with: a job's own code, else 1 for any error.
func ExitCode(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	}
	return 1
}

// report writes an error for a person, or as JSON for a program.
func (a *app) report(err error) {
	var exit *exitError
	if errors.As(err, &exit) {
		return
	}
	cause, cure := err.Error(), ""
	var f *failure
	if errors.As(err, &f) {
		cure = f.cure
	} else if errors.Is(err, context.Canceled) {
		cause, cure = "interrupted", ""
	}
	if a.output == "json" {
		line, _ := json.Marshal(struct {
			Error string `json:"error"`
			Cure  string `json:"cure,omitempty"`
		}{cause, cure})
		fmt.Fprintln(a.Err, string(line))
		return
	}
	label, reset := "", ""
	if colours(a.Err) {
		label, reset = "\x1b[31m", "\x1b[0m"
	}
	fmt.Fprintf(a.Err, "%serror:%s %s\n", label, reset, strings.TrimSpace(cause))
	if cure != "" {
		fmt.Fprintf(a.Err, "  fix: %s\n", cure)
	}
}
