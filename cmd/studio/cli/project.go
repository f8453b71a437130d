package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/manifests"
	"github.com/mlstudio/studio/project/pyenv"
)

// selection is what the arguments of `run` name.
type selection struct {
	project *project.Project // nil for manifests that belong to no folder of their own
	paths   []string
}

// choose finds the project of the arguments and the manifests that they mean.
func choose(args []string) (*selection, error) {
	if len(args) == 0 {
		if _, err := os.Stat(project.FileName); err != nil {
			return nil, fail(errors.New("nothing to run was named"), "studio run FILE or FOLDER; in a folder with studio.yaml, `studio run` alone runs it")
		}
		args = []string{"."}
	}
	s := &selection{}
	for _, arg := range args {
		if arg == manifests.Stdin {
			s.paths = append(s.paths, arg)
			continue
		}
		p, err := project.Of(arg)
		if errors.Is(err, os.ErrNotExist) {
			s.paths = append(s.paths, arg) // loading says what is wrong, with a suggestion
			continue
		}
		if err != nil {
			return nil, err
		}
		if p != nil && s.project != nil && p.Dir != s.project.Dir {
			return nil, fail(fmt.Errorf("%s and %s are two projects", s.project.Dir, p.Dir), "run them one after the other")
		}
		if p != nil {
			s.project = p
		}
		if p != nil && isDir(arg, p.Dir) {
			if len(p.Manifests) == 0 {
				return nil, fail(fmt.Errorf("the project %s names no manifests", p.Name), "name what to run: studio run FILE.py, or list folders under manifests in "+project.FileName)
			}
			s.paths = append(s.paths, relative(p.Manifests)...)
		} else {
			s.paths = append(s.paths, arg)
		}
	}
	return s, nil
}

// isDir tells whether an argument names a project's folder itself.
func isDir(arg, dir string) bool {
	a, err := os.Stat(arg)
	if err != nil {
		return false
	}
	b, err := os.Stat(dir)
	return err == nil && os.SameFile(a, b)
}

// relative shortens paths below the working directory, as people type them.
func relative(paths []string) []string {
	here, err := os.Getwd()
	if err != nil {
		return paths
	}
	var out []string
	for _, p := range paths {
		if r, err := filepath.Rel(here, p); err == nil && !strings.HasPrefix(r, "..") {
			p = r
		}
		out = append(out, p)
	}
	return out
}

// templates are where the kinds of Kubernetes that make pods describe them.
var templates = map[string][]string{
	"Pod":                   nil,
	"Deployment":            {"spec", "template"},
	"StatefulSet":           {"spec", "template"},
	"DaemonSet":             {"spec", "template"},
	"ReplicaSet":            {"spec", "template"},
	"ReplicationController": {"spec", "template"},
	"Job":                   {"spec", "template"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template"},
}

// builtinGroups have the kinds of templates.
var builtinGroups = map[string]bool{"": true, "apps": true, "batch": true}

// makesPods tells whether an object runs something, so that a project matters to it.
func makesPods(u *unstructured.Unstructured) bool {
	group := u.GroupVersionKind().Group
	if builtinGroups[group] {
		_, ok := templates[u.GetKind()]
		return ok
	}
	// Objects of other APIs, but not those of Kubernetes itself.
	return strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io")
}

// annotate ties what makes pods to its project: the object itself, and the pod
// templates of Kubernetes' own kinds. Other controllers pass the note on.
func annotate(objects []manifests.Object, id string) error {
	for _, o := range objects {
		if !makesPods(o.Unstructured) {
			continue
		}
		places := [][]string{{"metadata", "annotations"}}
		if path := templates[o.GetKind()]; path != nil && builtinGroups[o.GroupVersionKind().Group] {
			places = append(places, append(append([]string{}, path...), "metadata", "annotations"))
		}
		for _, place := range places {
			if err := unstructured.SetNestedField(o.Object, id, append(place, projects.Annotation)...); err != nil {
				return o.Problem(strings.Join(place, "."), "want a mapping", "")
			}
		}
	}
	return nil
}

// environment finds or makes the project's Python and says which was taken.
func (a *app) environment(ctx context.Context, p *project.Project) (*pyenv.Environment, error) {
	e, err := pyenv.Resolve(ctx, p, func(line string) { a.note("python: %s", line) })
	if errors.Is(err, pyenv.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a.note("python: %s", e)
	if len(e.Missing) > 0 {
		a.note("warning: it lacks %s, which %s asks for; install it with %s -m pip", strings.Join(e.Missing, ", "), relative([]string{p.Requirements})[0], e.Python)
	}
	for _, n := range e.Notes {
		a.note("warning: %s", n)
	}
	return e, nil
}
