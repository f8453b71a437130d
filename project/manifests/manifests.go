// Package manifests reads Kubernetes objects from files, folders, kustomizations
// and standard input, and remembers where each came from, so that what a server
// says about a field can be said about a line of a file.
package manifests

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/problem"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Object is one object and its place.
type Object struct {
	*unstructured.Unstructured
	source source
}

// Problem is something wrong with a field of the object; an empty field means
// the object as a whole.
func (o Object) Problem(field, message, cure string) problem.Problem {
	line, column := o.source.locate(field)
	return problem.Problem{File: o.source.file, Line: line, Column: column, Field: field, Message: message, Cure: cure}
}

// File is where the object was read from.
func (o Object) File() string { return o.source.file }

// String names the object as people do: TrainJob digits.
func (o Object) String() string {
	name := o.GetName()
	if name == "" {
		name = o.GetGenerateName() + "*"
	}
	return o.GetKind() + " " + name
}

// Set is what was read.
type Set struct {
	Objects []Object
	// Skipped are files of a folder that hold no Kubernetes objects.
	Skipped []string
}

// Load reads all paths in order. An error is a problem.List where files are wrong.
func Load(paths []string, stdin io.Reader) (*Set, error) {
	set := new(Set)
	var wrong problem.List
	for _, path := range paths {
		if err := set.load(path, stdin, &wrong); err != nil {
			return nil, err
		}
	}
	set.refuseTwins(&wrong)
	if len(wrong) > 0 {
		return nil, wrong
	}
	set.sort()
	return set, nil
}

func (s *Set) load(path string, stdin io.Reader, wrong *problem.List) error {
	if path == Stdin {
		raw, err := io.ReadAll(stdin)
		if err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		s.add(parse("standard input", raw, false), wrong)
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		*wrong = append(*wrong, problem.Problem{File: path, Message: "there is no such file or folder", Cure: problem.NearFile(path)})
	case err != nil:
		return fmt.Errorf("reading manifests: %w", err)
	case !info.IsDir():
		raw, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading manifests: %w", err)
		}
		s.add(parse(path, raw, false), wrong)
	default:
		return s.folder(path, wrong)
	}
	return nil
}

// folder reads a kustomization, or the manifests that lie directly in a folder.
func (s *Set) folder(dir string, wrong *problem.List) error {
	if isKustomization(dir) {
		s.add(build(dir), wrong)
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading manifests: %w", err)
	}
	before, wrongBefore := len(s.Objects), len(*wrong)
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".yaml", ".yml", ".json":
		default:
			continue
		}
		path := filepath.Join(dir, e.Name())
		if e.IsDir() || e.Name() == project.FileName {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading manifests: %w", err)
		}
		r := parse(path, raw, true)
		if r.foreign {
			s.Skipped = append(s.Skipped, path)
		}
		s.add(r, wrong)
	}
	if len(s.Objects) == before && len(*wrong) == wrongBefore {
		*wrong = append(*wrong, problem.Problem{File: dir, Message: "no Kubernetes manifest lies in this folder",
			Cure: "name a file, or list folders under manifests in " + project.FileName})
	}
	return nil
}

func (s *Set) add(r read, wrong *problem.List) {
	s.Objects = append(s.Objects, r.objects...)
	*wrong = append(*wrong, r.wrong...)
}

// Of is a set of objects that no file holds. What is wrong with one is said of from.
func Of(from string, objects ...*unstructured.Unstructured) *Set {
	set := new(Set)
	for _, u := range objects {
		set.Objects = append(set.Objects, Object{Unstructured: u, source: source{file: from}})
	}
	return set
}

// refuseTwins finds one object written twice: the second would undo the first.
func (s *Set) refuseTwins(wrong *problem.List) {
	seen := map[string]Object{}
	for _, o := range s.Objects {
		if o.GetName() == "" {
			continue
		}
		key := strings.Join([]string{o.GroupVersionKind().GroupKind().String(), o.GetNamespace(), o.GetName()}, "/")
		if first, twice := seen[key]; twice {
			line, _ := first.source.locate("metadata.name")
			*wrong = append(*wrong, o.Problem("metadata.name", fmt.Sprintf("%s is already in %s, line %d", o, first.File(), line), "rename or remove one of the two"))
			continue
		}
		seen[key] = o
	}
}

// order is what must exist before what. Kinds not named come after these and
// before the workloads.
var order = []string{"Namespace", "CustomResourceDefinition", "PriorityClass", "StorageClass", "ResourceQuota", "LimitRange", "ServiceAccount",
	"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ConfigMap", "Secret", "PersistentVolume", "PersistentVolumeClaim", "Service",
	"TrainingRuntime", "ClusterTrainingRuntime"}

var workloads = []string{"Pod", "Job", "CronJob", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}

func rank(kind string) int {
	if i := slices.Index(order, kind); i >= 0 {
		return i
	}
	if slices.Contains(workloads, kind) {
		return len(order) + 2
	}
	return len(order) + 1
}

func (s *Set) sort() {
	slices.SortStableFunc(s.Objects, func(a, b Object) int { return rank(a.GetKind()) - rank(b.GetKind()) })
}
