package pyenv

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/project/problem"
)

//go:embed list.py
var lister string

// LockName is the file that records an environment, beside studio.yaml.
const LockName = "studio.lock"

// lockVersion of the file's form.
const lockVersion = 1

// Lock is what an environment really consists of.
type Lock struct {
	Version        int       `json:"version"`
	Python         string    `json:"python"`
	Implementation string    `json:"implementation"`
	Platform       string    `json:"platform"`
	Packages       []Package `json:"packages"`
}

// Package is one installed distribution.
type Package struct {
	// Name in the normal form of PEP 503.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Hash over the recorded hashes of its files.
	Hash string `json:"hash"`
	// Source is the installer's name, an address, or "editable" and a folder's.
	Source string `json:"source"`
}

// Installed lists what an environment consists of.
func (e *Environment) Installed(ctx context.Context) (*Lock, error) {
	out, err := exec.CommandContext(ctx, e.Python, "-I", "-c", lister).Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(lastLine(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("listing what %s has: %w", e.Python, err)
	}
	l := &Lock{Version: lockVersion}
	if err := json.Unmarshal(out, l); err != nil {
		return nil, fmt.Errorf("listing what %s has: %w", e.Python, err)
	}
	return l, nil
}

// ReadLock reads a project's lock file; nil without one.
func ReadLock(dir string) (*Lock, error) {
	file := filepath.Join(dir, LockName)
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the lock file: %w", err)
	}
	l := new(Lock)
	const cure = "write it anew: studio env lock"
	if err := yaml.UnmarshalStrict(raw, l); err != nil {
		line, message := problem.SyntaxLine(err)
		return nil, problem.List{{File: file, Line: line, Message: "this is no lock file: " + message, Cure: cure}}
	}
	if l.Version != lockVersion {
		return nil, problem.List{{File: file, Field: "version", Message: fmt.Sprintf("this version of Studio reads %d, not %d", lockVersion, l.Version), Cure: cure}}
	}
	return l, nil
}

// Write stores the lock file of a project, whole or not at all.
func (l *Lock) Write(dir string) error {
	raw, err := yaml.Marshal(l)
	if err != nil {
		return fmt.Errorf("writing the lock file: %w", err)
	}
	raw = append([]byte("# Written by `studio env lock`: what this project's Python environment consists of.\n"), raw...)
	f, err := os.CreateTemp(dir, "."+LockName+"-*")
	if err != nil {
		return fmt.Errorf("writing the lock file: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, LockName))
	}
	if err != nil {
		return fmt.Errorf("writing the lock file: %w", err)
	}
	return nil
}

// Change is one difference between a lock file and what is installed.
type Change struct {
	Name string `json:"name"`
	// Locked and Installed are versions; empty where it is in one of the two only.
	Locked    string `json:"locked,omitempty"`
	Installed string `json:"installed,omitempty"`
	// Content is true where the versions agree and the files do not.
	Content bool `json:"content,omitempty"`
}

func (c Change) String() string {
	switch {
	case c.Locked == "":
		return fmt.Sprintf("+ %s %s", c.Name, c.Installed)
	case c.Installed == "":
		return fmt.Sprintf("- %s %s", c.Name, c.Locked)
	case c.Content:
		return fmt.Sprintf("~ %s %s (other files)", c.Name, c.Installed)
	}
	return fmt.Sprintf("~ %s %s -> %s", c.Name, c.Locked, c.Installed)
}

// Diff says how what is installed differs from the lock, by name. The interpreter
// counts as a package of the name python.
func (l *Lock) Diff(installed *Lock) []Change {
	python := func(l *Lock) Package { return Package{Name: "python", Version: l.Python, Hash: l.Implementation} }
	before := append([]Package{python(l)}, l.Packages...)
	now := map[string]Package{}
	for _, p := range append([]Package{python(installed)}, installed.Packages...) {
		now[p.Name] = p
	}
	changes := []Change{}
	seen := map[string]bool{}
	for _, p := range before {
		seen[p.Name] = true
		switch n, ok := now[p.Name]; {
		case !ok:
			changes = append(changes, Change{Name: p.Name, Locked: p.Version})
		case n.Version != p.Version || n.Hash != p.Hash:
			changes = append(changes, Change{Name: p.Name, Locked: p.Version, Installed: n.Version, Content: n.Version == p.Version})
		}
	}
	for _, p := range installed.Packages {
		if !seen[p.Name] {
			changes = append(changes, Change{Name: p.Name, Installed: p.Version})
		}
	}
	return changes
}
