// Package project opens a person's folder as a project: what studio.yaml says,
// and sensible defaults where it says nothing or is not there.
package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// FileName is what makes a folder a declared project.
const FileName = "studio.yaml"

// Project is one opened folder.
type Project struct {
	// Name is a DNS label.
	Name string
	// Dir is the real path of the folder: links resolved, so that a folder has one identity.
	Dir string
	// Declared tells whether a studio.yaml was there.
	Declared bool
	// Manifests are absolute paths of files and folders, in order.
	Manifests []string
	// Python is what the person wants: a version (3.11), an interpreter or an
	// environment's folder, absolute when it is a path; empty to find one.
	Python string
	// Requirements is the absolute path of a pip requirements file, or of a
	// pyproject.toml; empty without one.
	Requirements string
	// Data are folders of this machine that the project's pods see, by name.
	Data map[string]Data
	// Secrets are files of variables, absolute, by the name of the Secret that they feed.
	Secrets map[string]string
	// Changes say what a saved file leads to where it is not the usual.
	Changes Changes
}

// Changes are patterns of files, as in .gitignore, by what saving one leads to
// under `studio dev`: the runs are made again, also when under way; the manifests
// are applied again; nothing.
type Changes struct{ Restart, Apply, Nothing []string }

// Data is one folder.
type Data struct {
	// Path is the real, absolute path here; MountPath where pods see it.
	Path, MountPath string
	Writable        bool
}

// Open reads the project of a folder.
func Open(dir string) (*Project, error) {
	real, err := realDir(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(real, FileName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return defaults(real), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the project: %w", err)
	}
	f, err := parse(path, raw)
	if err != nil {
		return nil, err
	}
	p := defaults(real)
	p.Declared = true
	if f.Name != "" {
		p.Name = f.Name
	}
	if f.Manifests != nil {
		p.Manifests = nil
		for _, m := range f.Manifests {
			p.Manifests = append(p.Manifests, p.abs(m))
		}
	}
	p.Changes = f.Changes
	p.Python = f.Environment.Python
	if strings.ContainsRune(p.Python, filepath.Separator) {
		p.Python = p.abs(p.Python)
	}
	if f.Environment.Requirements != "" {
		p.Requirements = p.abs(f.Environment.Requirements)
	}
	if err := f.check(p); err != nil {
		return p, err
	}
	p.Data, p.Secrets = map[string]Data{}, map[string]string{}
	for name, d := range f.Data {
		dir, err := realDir(p.abs(d.Path))
		if err != nil {
			return nil, err
		}
		at := d.MountPath
		if at == "" {
			at = p.abs(d.Path)
		}
		p.Data[name] = Data{Path: dir, MountPath: at, Writable: d.Writable}
	}
	for name, file := range f.Secrets {
		p.Secrets[name] = p.abs(file)
	}
	return p, nil
}

// Of finds the project that a file or folder belongs to: the nearest folder
// upwards with a studio.yaml, else the folder itself, or the folder of the file.
// A folder too wide to be one project (the home, a system folder) is none: nil,
// unless it declares itself.
func Of(path string) (*Project, error) {
	dir := path
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.IsDir() {
		dir = filepath.Dir(path)
	}
	start, err := realDir(dir)
	if err != nil {
		return nil, err
	}
	for at := start; ; at = filepath.Dir(at) {
		if tooWide(at) {
			break
		}
		if _, err := os.Stat(filepath.Join(at, FileName)); err == nil {
			return Open(at)
		}
	}
	if tooWide(start) {
		return nil, nil
	}
	return Open(start)
}

// tooWide tells whether opening this folder to pods would open more than a
// project: the home itself, what lies above it, or a folder of the system.
func tooWide(dir string) bool {
	if dir == "/" || dir == os.TempDir() {
		return true
	}
	if home, err := os.UserHomeDir(); err == nil {
		if real, err := filepath.EvalSymlinks(home); err == nil {
			home = real
		}
		if dir == home || strings.HasPrefix(home, dir+"/") {
			return true
		}
	}
	switch first, _, _ := strings.Cut(dir[1:], "/"); first {
	case "usr", "bin", "sbin", "lib", "lib64", "etc", "proc", "sys", "dev", "boot", "run":
		return true
	}
	return false
}

func realDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("opening the project: %w", err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("opening the project: %w", err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("opening the project: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("opening the project: %s is a file; name its folder", dir)
	}
	return real, nil
}

// defaults is what a folder without studio.yaml means.
func defaults(dir string) *Project {
	p := &Project{Name: NameFor(filepath.Base(dir)), Dir: dir, Manifests: []string{dir}}
	if info, err := os.Stat(filepath.Join(dir, "manifests")); err == nil && info.IsDir() && !kustomized(dir) {
		p.Manifests = []string{filepath.Join(dir, "manifests")}
	}
	for _, name := range []string{"requirements.txt", "pyproject.toml"} {
		if raw, err := os.ReadFile(filepath.Join(dir, name)); err == nil && (name != "pyproject.toml" || dependencies.Match(raw)) {
			p.Requirements = filepath.Join(dir, name)
			break
		}
	}
	return p
}

// dependencies tells a pyproject.toml that says what it needs from one that only
// configures tools.
var dependencies = regexp.MustCompile(`(?m)^(dependencies|dynamic)\s*=`)

// kustomized tells whether the folder itself is a kustomization: it names its own files.
func kustomized(dir string) bool {
	for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// NameFor makes a project's name, a DNS label, of any text.
func NameFor(name string) string {
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, name)
	if len(mapped) > 63 {
		mapped = mapped[:63]
	}
	if mapped = strings.Trim(mapped, "-"); mapped == "" {
		return "project"
	}
	return mapped
}

func (p *Project) abs(path string) string {
	if strings.HasPrefix(path, "~/") {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, path[2:])
		}
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(p.Dir, path)
}
