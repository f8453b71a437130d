// Package pyenv finds the Python environment of a project, or makes one, and
// says which folders of this machine it consists of, so that exactly those
// become visible in the project's pods.
//
// Looked at in this order: what studio.yaml names; the project's .venv; an
// active virtual environment; an active conda environment; the version in
// .python-version; the system's interpreter; the first one on PATH. What the person named and what lies
// in the project is taken as it is; the others only where they have all that the
// requirements ask for. Otherwise .venv is made with pip.
package pyenv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/project"
)

// Kind says where an environment comes from.
type Kind string

// The kinds, in the order in which they are looked for.
const (
	Named   Kind = "named"
	Venv    Kind = "venv"
	Active  Kind = "active"
	Conda   Kind = "conda"
	Pinned  Kind = "pinned"
	System  Kind = "system"
	OnPath  Kind = "path"
	Created Kind = "created"
)

// Environment is one Python environment that was chosen.
type Environment struct {
	Kind    Kind   `json:"kind"`
	Python  string `json:"python"`
	Version string `json:"version"`
	Prefix  string `json:"prefix"`
	// Missing are requirements that it does not meet.
	Missing []string `json:"missing,omitempty"`
	// Notes are things that a person should know: what pods will not see.
	Notes []string `json:"notes,omitempty"`

	Mounts      []projects.Mount  `json:"mounts,omitempty"`
	PathPrepend []string          `json:"pathPrepend,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
}

// Say receives one line of progress for people.
type Say func(line string)

// ErrNone means that there is no Python here and the project asks for none.
var ErrNone = errors.New("no Python was found and the project asks for none")

// Resolve finds or makes the project's environment. It returns ErrNone when the
// project needs none and there is none.
func Resolve(ctx context.Context, p *project.Project, say Say) (*Environment, error) {
	var passed []string
	for _, c := range candidates(p) {
		if c.absent != "" {
			say("passed over: " + c.absent)
			continue
		}
		f, err := probe(ctx, c.python, p.Requirements)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		why := ""
		switch {
		case c.kind == Venv && madeByStudio(c.prefix):
			if err == nil && complete(c.prefix, p.Requirements, f.Missing) {
				f.Missing = nil
				return describe(c.kind, f, p.Dir)
			}
			// Its interpreter was upgraded or removed, its installation was cut short,
			// or the requirements changed: it is completed or made again.
			if p.Requirements != "" {
				return create(ctx, p, say)
			}
			why = ".venv does not work any more: " + err.Error()
		case err != nil && c.mandatory:
			return nil, fmt.Errorf("%w; %s", err, c.cure)
		case err != nil:
			why = err.Error()
		case len(f.Missing) > 0 && !c.mandatory:
			why = fmt.Sprintf("%s lacks %s", c.python, strings.Join(f.Missing, ", "))
		default:
			return describe(c.kind, f, p.Dir)
		}
		// What the person chose is not passed over in silence; that the system lacks
		// something matters only when an environment is made because of it.
		if c.kind == System || c.kind == OnPath {
			passed = append(passed, why)
		} else {
			say("passed over: " + why)
		}
	}
	if p.Requirements == "" && p.Python == "" {
		return nil, ErrNone
	}
	for _, why := range passed {
		say(why)
	}
	return create(ctx, p, say)
}

// describe turns the facts of a chosen interpreter into what its pods need.
func describe(kind Kind, f *facts, projectDir string) (*Environment, error) {
	e := &Environment{Kind: kind, Python: f.Executable, Version: f.Version, Prefix: f.Prefix, Missing: f.Missing,
		Env: map[string]string{"PYTHONUNBUFFERED": "1"}}
	var err error
	if e.Mounts, err = f.mounts(); err != nil {
		return nil, err
	}
	if bin := filepath.Dir(f.Executable); !inSystem(bin) || !onDefaultPath(bin) {
		e.PathPrepend = []string{bin}
	}
	switch {
	case f.Prefix != f.BasePrefix:
		e.Env["VIRTUAL_ENV"] = f.Prefix
	case f.Conda:
		e.Env["CONDA_PREFIX"] = f.Prefix
	}
	for _, dir := range f.outside(e.Mounts, projectDir) {
		e.Notes = append(e.Notes, fmt.Sprintf("%s is on this interpreter's path (an editable install?) but is not part of the environment, so pods do not see it", dir))
	}
	return e, nil
}

// String is the line that says what was taken.
func (e *Environment) String() string {
	what := map[Kind]string{
		Named: "named in studio.yaml", Venv: "the project's environment", Active: "the active environment", Conda: "the active conda environment",
		Pinned: "named in .python-version", System: "the system's, it has all that is needed", OnPath: "first on PATH, it has all that is needed", Created: "made for this project",
	}[e.Kind]
	return fmt.Sprintf("Python %s, %s (%s)", e.Version, e.Python, what)
}

// Register is the project as the engine has to know it.
func Register(p *project.Project, e *Environment) projects.Project {
	r := projects.Project{ID: projects.NewID(p.Name, p.Dir), Name: p.Name, Dir: p.Dir}
	if e != nil {
		r.Mounts, r.PathPrepend, r.Env = e.Mounts, e.PathPrepend, e.Env
	}
	r.Mounts = slices.Clone(r.Mounts)
	for _, name := range slices.Sorted(maps.Keys(p.Data)) {
		d := p.Data[name]
		m := projects.Mount{Path: d.Path, ReadOnly: !d.Writable}
		if d.MountPath != d.Path {
			m.At = d.MountPath
		}
		r.Mounts = append(r.Mounts, m)
	}
	return r
}
