package pyenv

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

//go:embed probe.py
var script string

// facts is what an interpreter says of itself.
type facts struct {
	Version    string   `json:"version"`
	Executable string   `json:"executable"`
	Prefix     string   `json:"prefix"`
	BasePrefix string   `json:"basePrefix"`
	ExecPrefix string   `json:"execPrefix"`
	Stdlib     []string `json:"stdlib"`
	Path       []string `json:"path"`
	Libraries  []string `json:"libraries"`
	Missing    []string `json:"missing"`
	Wanted     []string `json:"wanted"`
	Pip        bool     `json:"pip"`
	Conda      bool     `json:"conda"`
}

// probe runs the script in an interpreter, isolated: neither the caller's
// PYTHONPATH nor packages in the home count, as pods see neither.
func probe(ctx context.Context, python, requirements string) (*facts, error) {
	args := []string{"-I", "-c", script}
	if requirements != "" {
		args = append(args, requirements)
	}
	cmd := exec.CommandContext(ctx, python, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		why := lastLine(errs.String())
		var exit *exec.ExitError
		if why == "" || !errors.As(err, &exit) {
			why = err.Error()
		}
		return nil, fmt.Errorf("asking the interpreter %s: %s", python, why)
	}
	f := new(facts)
	if err := json.Unmarshal(out.Bytes(), f); err != nil {
		return nil, fmt.Errorf("asking the interpreter %s: its answer can not be read: %w", python, err)
	}
	return f, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
