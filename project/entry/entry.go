// Package entry understands what a person means by `studio run X` where X is
// code: a script, a notebook, or one function of a file. It checks the code with
// the project's own interpreter before anything starts, and composes the command
// that runs it. The command needs nothing of Studio: it works in any container
// that has the project's files and packages.
package entry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mlstudio/studio/project/problem"
)

// Kind of code.
type Kind string

// The kinds. Python, Shell: a script. Notebook: a Jupyter notebook. Function:
// one function of a Python file.
const (
	Python   Kind = "python"
	Shell    Kind = "shell"
	Notebook Kind = "notebook"
	Function Kind = "function"
)

// Entry is one piece of code that can be run.
type Entry struct {
	Kind Kind
	// Path of the file as the person wrote it.
	Path string
	// Func is the function's name; empty for a whole file.
	Func string
}

// functionForm is file.py:name.
var functionForm = regexp.MustCompile(`^(.+\.py):([A-Za-z_][A-Za-z0-9_]*)$`)

// Is tells by the form alone whether an argument means code rather than manifests.
func Is(arg string) bool {
	switch filepath.Ext(arg) {
	case ".py", ".ipynb", ".sh":
		return true
	}
	return functionForm.MatchString(arg)
}

// Find reads an argument for which Is holds and looks whether the file is there.
func Find(arg string) (Entry, error) {
	e := Entry{Kind: Python, Path: arg}
	if m := functionForm.FindStringSubmatch(arg); m != nil {
		e = Entry{Kind: Function, Path: m[1], Func: m[2]}
	}
	switch filepath.Ext(arg) {
	case ".ipynb":
		e.Kind = Notebook
	case ".sh":
		e.Kind = Shell
	}
	info, err := os.Stat(e.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return e, problem.List{{File: e.Path, Message: "there is no such file", Cure: problem.NearFile(e.Path)}}
	case err != nil:
		return e, fmt.Errorf("reading the entry point: %w", err)
	case info.IsDir():
		return e, problem.List{{File: e.Path, Message: "this is a folder; name the file in it that shall run"}}
	}
	return e, nil
}

// Name is a DNS label after the file, and after the function where one is named.
func (e Entry) Name() string {
	base := filepath.Base(e.Path)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	if e.Func != "" {
		base = e.Func
	}
	label := strings.Trim(notLabel.ReplaceAllString(strings.ToLower(base), "-"), "-")
	if len(label) > maxName {
		label = strings.Trim(label[:maxName], "-")
	}
	if label == "" || label[0] < 'a' { // names of some children must begin with a letter
		label = strings.Trim("run-"+label, "-")
	}
	return label
}

var notLabel = regexp.MustCompile(`[^a-z0-9]+`)

// maxName leaves room for what controllers add to a run's name: its pods' names are labels too.
const maxName = 30
