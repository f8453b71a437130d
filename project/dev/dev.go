// Package dev decides what the change of a project's files leads to while a
// person works on it: what studio.yaml declares under `changes`, and what is
// sensible where it says nothing. A run under way is ended by a save only where
// that is declared.
package dev

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/sync/watch/ignore"
)

// Consequence is what a change leads to.
type Consequence string

// The consequences, the strongest first.
const (
	// Restart: the runs are ended and made again.
	Restart Consequence = "restart"
	// Apply: the manifests are applied again.
	Apply Consequence = "apply"
	// Again: runs that have ended are made again, one under way goes on.
	Again Consequence = "again"
	// Appear: the files are there in the pods, nothing else.
	Appear Consequence = "appear"
	// Nothing, and not a word.
	Nothing Consequence = "nothing"
)

var strongest = []Consequence{Restart, Apply, Again, Appear, Nothing}

// Rules are those of one project.
type Rules struct {
	declared  map[Consequence]*ignore.Patterns
	manifests []string // relative
}

// For reads the rules of a project.
func For(p *project.Project) Rules {
	r := Rules{declared: map[Consequence]*ignore.Patterns{
		Nothing: ignore.Compile(p.Changes.Nothing), Restart: ignore.Compile(p.Changes.Restart), Apply: ignore.Compile(p.Changes.Apply),
	}}
	for _, m := range p.Manifests {
		if rel, err := filepath.Rel(p.Dir, m); err == nil && !strings.HasPrefix(rel, "..") {
			r.manifests = append(r.manifests, filepath.ToSlash(rel))
		}
	}
	return r
}

// sources are code that a run starts from. Only these make an ended run start
// anew by themselves: a run writes files too, and must not start itself.
var sources = []string{".py", ".pyi", ".sh", ".r", ".jl"}

// Of says what the change of one file leads to; its path counts from the project.
func (r Rules) Of(file string) Consequence {
	for _, c := range []Consequence{Nothing, Restart, Apply} {
		if r.declared[c].Match(file) {
			return c
		}
	}
	ext := strings.ToLower(path.Ext(file))
	switch {
	case file == project.FileName:
		return Apply
	case (ext == ".yaml" || ext == ".yml") && slices.ContainsFunc(r.manifests, func(m string) bool {
		return m == "." && !strings.Contains(file, "/") || file == m || strings.HasPrefix(file, m+"/")
	}):
		return Apply
	case slices.Contains(sources, ext):
		return Again
	}
	return Appear
}

// Decide sums up a change of several files: the strongest consequence, and the
// files that lead to it.
func (r Rules) Decide(files []string) (Consequence, []string) {
	by := map[Consequence][]string{}
	for _, f := range files {
		c := r.Of(f)
		by[c] = append(by[c], f)
	}
	for _, c := range strongest {
		if len(by[c]) > 0 {
			return c, by[c]
		}
	}
	return Nothing, nil
}
