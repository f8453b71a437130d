package scaffold

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/problem"
)

// Found is what a folder holds that a project is made of; paths from the folder on.
type Found struct {
	Manifests    []string `json:"manifests,omitempty"`
	Requirements string   `json:"requirements,omitempty"`
	Scripts      []string `json:"scripts,omitempty"`
	Notebooks    []string `json:"notebooks,omitempty"`
	// Unread are files that describe an environment in a way that Studio does not read yet.
	Unread []string `json:"unread,omitempty"`
}

// deepest is how far below the folder code and manifests are looked for.
const deepest = 3

// passedBy are folders that hold no part of a project of one's own.
var passedBy = []string{"node_modules", "venv", "site-packages", "__pycache__", "build", "dist", "executed"}

// object tells a Kubernetes manifest: both lines at the start of a line.
var object = [2]*regexp.Regexp{regexp.MustCompile(`(?m)^apiVersion:\s*\S`), regexp.MustCompile(`(?m)^kind:\s*\S`)}

// Look finds the parts of a project in a folder.
func Look(dir string) (*Found, error) {
	f := new(Found)
	var plain []string // folders with manifests
	var kustomized []string
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		if e.IsDir() {
			hidden := strings.HasPrefix(e.Name(), ".") || slices.Contains(passedBy, e.Name())
			if rel != "." && (hidden || strings.Count(rel, "/") >= deepest) {
				return fs.SkipDir
			}
			return nil
		}
		f.take(rel, at, &plain, &kustomized)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking at the folder: %w", err)
	}
	f.Manifests = kustomized
	for _, folder := range plain {
		owned := slices.ContainsFunc(kustomized, func(k string) bool { return k == "." || folder == k || strings.HasPrefix(folder, k+"/") })
		if !owned && !slices.Contains(f.Manifests, folder) {
			f.Manifests = append(f.Manifests, folder)
		}
	}
	return f, nil
}

func (f *Found) take(rel, at string, plain, kustomized *[]string) {
	folder := filepath.Dir(rel)
	switch name := filepath.Base(rel); {
	case name == project.FileName:
	case name == "kustomization.yaml", name == "kustomization.yml", name == "Kustomization":
		*kustomized = append(*kustomized, folder)
	case name == "requirements.txt" && (f.Requirements == "" || folder == "."):
		f.Requirements = rel
	case rel == "pyproject.toml": // read without being named
	case name == "environment.yml", name == "environment.yaml", name == "Pipfile", name == "uv.lock", name == "poetry.lock":
		f.Unread = append(f.Unread, rel)
	default:
		switch filepath.Ext(name) {
		case ".yaml", ".yml":
			raw, err := os.ReadFile(at)
			if err == nil && object[0].Match(raw) && object[1].Match(raw) && !slices.Contains(*plain, folder) {
				*plain = append(*plain, folder)
			}
		case ".py":
			raw, err := os.ReadFile(at)
			if err == nil && (folder == "." || bytes.Contains(raw, []byte("__main__"))) && !strings.HasPrefix(name, "test_") && name != "setup.py" {
				f.Scripts = append(f.Scripts, rel)
			}
		case ".ipynb":
			f.Notebooks = append(f.Notebooks, rel)
		}
	}
}

// Declare writes studio.yaml for what was found and returns its text. One that
// is there is never changed.
func Declare(dir, name string, f *Found) (string, error) {
	file := filepath.Join(dir, project.FileName)
	if _, err := os.Lstat(file); err == nil {
		return "", problem.List{{File: file, Message: "it is there already", Cure: "edit it, or remove it and run again"}}
	}
	text := f.text(name)
	if err := create(file, []byte(text)); err != nil {
		return "", err
	}
	return text, nil
}

func (f *Found) text(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nname: %s\n", project.APIVersion, project.Kind, name)
	if len(f.Manifests) == 0 {
		b.WriteString("manifests: []\n")
	} else {
		b.WriteString("manifests:\n")
		for _, m := range f.Manifests {
			fmt.Fprintf(&b, "  - %s\n", quoted(m))
		}
	}
	if f.Requirements != "" {
		fmt.Fprintf(&b, "environment:\n  requirements: %s\n", quoted(f.Requirements))
	}
	return b.String()
}

var plainText = regexp.MustCompile(`^[A-Za-z0-9_./][A-Za-z0-9_./ -]*$`)

// quoted writes a path as YAML.
func quoted(path string) string {
	if plainText.MatchString(path) && !strings.HasSuffix(path, " ") {
		return path
	}
	return fmt.Sprintf("%q", path)
}
