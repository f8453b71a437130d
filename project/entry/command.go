package entry

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/project/problem"
)

// Param is one parameter: an option of a script, a variable of a notebook, a
// keyword argument of a function.
type Param struct{ Name, Value string }

// paramForm is what Python and command lines both take as a name.
var paramForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// ParseParam reads name=value.
func ParseParam(text string) (Param, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || !paramForm.MatchString(name) {
		return Param{}, fmt.Errorf("parameter %q: want name=value, such as epochs=3", text)
	}
	return Param{Name: name, Value: value}, nil
}

// Command is what runs an entry in a project's folder.
type Command struct {
	Args []string
	Env  []corev1.EnvVar
	// Output is where an executed notebook goes, below the project's folder; it
	// may hold $(RUN), the name of the run.
	Output string
}

// runVariable names the run inside of its pod.
const runVariable = "RUN"

// call runs one function with the keyword arguments of its last argument. What it
// returns is printed.
const call = `import importlib, json, os, sys
sys.path.insert(0, os.path.abspath(sys.argv[1]))
result = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])(**json.loads(sys.argv[4]))
if result is not None:
    print(result)`

// execute makes the folder of the executed copy and leaves the rest to papermill.
const execute = `mkdir -p "$(dirname "$2")" && exec python3 -m papermill --log-output --no-progress-bar -k python3 "$@"`

// Executed is the folder of executed notebooks, below the project's.
const Executed = "executed"

// Command composes the command. dir is the project's folder; output overrides
// where an executed notebook goes, from the project's folder on.
func (e Entry) Command(dir string, params []Param, args []string, output string) (Command, error) {
	file, err := e.within(dir)
	if err != nil {
		return Command{}, err
	}
	if len(args) > 0 && (e.Kind == Notebook || e.Kind == Function) {
		return Command{}, fmt.Errorf("a %s takes parameters, not arguments such as %q; write --param name=value", e.Kind, args[0])
	}
	switch e.Kind {
	case Function:
		values := map[string]any{}
		for _, p := range params {
			values[p.Name] = typed(p.Value)
		}
		given, err := json.Marshal(values)
		if err != nil {
			return Command{}, fmt.Errorf("writing the parameters: %w", err)
		}
		module := strings.TrimSuffix(path.Base(file), ".py")
		return Command{Args: []string{"python3", "-c", call, path.Dir(file), module, e.Func, string(given)}}, nil
	case Notebook:
		c := Command{Output: output}
		if c.Output == "" {
			c.Output = path.Join(Executed, "$("+runVariable+").ipynb")
			c.Env = []corev1.EnvVar{{Name: runVariable, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
		}
		c.Args = []string{"sh", "-c", execute, "papermill", file, c.Output}
		for _, p := range params {
			c.Args = append(c.Args, "-p", p.Name, p.Value)
		}
		return c, nil
	}
	c := Command{Args: []string{"python3", file}}
	if e.Kind == Shell {
		c.Args = []string{"bash", file}
	}
	for _, p := range params {
		c.Args = append(c.Args, "--"+p.Name+"="+p.Value)
	}
	c.Args = append(c.Args, args...)
	return c, nil
}

// within is the file's path from the project's folder on.
func (e Entry) within(dir string) (string, error) {
	abs, err := filepath.Abs(e.Path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(real, filepath.Base(abs))
	}
	file, err := filepath.Rel(dir, abs)
	if err != nil || strings.HasPrefix(file, "..") {
		return "", problem.List{{File: e.Path, Message: fmt.Sprintf("it lies outside the project %s, so its pods do not see it", dir)}}
	}
	return filepath.ToSlash(file), nil
}

// typed reads a value as papermill does: as YAML, so that 3 is a number and abc a text.
func typed(value string) any {
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		return value
	}
	return v
}
