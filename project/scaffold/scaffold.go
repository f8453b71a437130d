// Package scaffold starts projects: it declares what is found in a folder in a
// new studio.yaml, or copies a template. It never changes a file that is there.
package scaffold

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/problem"
)

// Template is a project that a new one can start as.
type Template struct {
	Name, About string
	files       fs.FS
}

// Templates lists the folders of a file system, each with a README.md that says what it is.
func Templates(all fs.FS) ([]Template, error) {
	entries, err := fs.ReadDir(all, ".")
	if err != nil {
		return nil, fmt.Errorf("reading the templates: %w", err)
	}
	var list []Template
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		readme, err := fs.ReadFile(all, path.Join(e.Name(), "README.md"))
		if err != nil {
			return nil, fmt.Errorf("reading the template %s: %w", e.Name(), err)
		}
		files, err := fs.Sub(all, e.Name())
		if err != nil {
			return nil, fmt.Errorf("reading the template %s: %w", e.Name(), err)
		}
		list = append(list, Template{Name: e.Name(), About: firstSentence(string(readme)), files: files})
	}
	return list, nil
}

// firstSentence of a page, below its title.
func firstSentence(page string) string {
	var words []string
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "#") {
			words = append(words, strings.Fields(line)...)
		}
	}
	text := strings.Join(words, " ")
	if end := strings.Index(text, ". "); end >= 0 {
		return text[:end+1]
	}
	return text
}

// Copy writes a template into a folder under a project's name and returns the
// files, sorted. Where one of them is there already nothing is written.
func Copy(t Template, dir, name string) ([]string, error) {
	content := map[string][]byte{}
	var taken problem.List
	err := fs.WalkDir(t.files, ".", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if _, err := os.Lstat(filepath.Join(dir, file)); err == nil {
			taken = append(taken, problem.Problem{File: filepath.Join(dir, file), Message: "it is there already and would be overwritten", Cure: "choose another folder"})
			return nil
		}
		content[file], err = fs.ReadFile(t.files, file)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the template %s: %w", t.Name, err)
	}
	if len(taken) > 0 {
		return nil, taken
	}
	content[project.FileName] = nameLine.ReplaceAll(content[project.FileName], []byte("${1}"+name))
	var files []string
	for file, raw := range content {
		if err := create(filepath.Join(dir, file), raw); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	slices.Sort(files)
	return files, nil
}

var nameLine = regexp.MustCompile(`(?m)^(name: ).*$`)

// create makes a file that is not there, whole or not at all.
func create(file string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("starting the project: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".studio-new-*")
	if err != nil {
		return fmt.Errorf("starting the project: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.Link(f.Name(), file); err != nil { // unlike a rename it never replaces
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}
