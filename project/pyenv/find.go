package pyenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mlstudio/studio/project"
)

// candidate is an interpreter worth asking.
type candidate struct {
	kind   Kind
	python string
	prefix string
	// mandatory: taken as it is, or an error; never passed over in silence.
	mandatory bool
	cure      string
	// absent says why there is nothing to ask.
	absent string
}

// systemPython is where distributions keep their interpreter. Not what PATH finds
// first: that is often a shim in the home.
const systemPython = "/usr/bin/python3"

// candidates lists what there is, best first.
func candidates(p *project.Project) []candidate {
	var all []candidate
	if p.Python != "" {
		python := named(p.Python, p.Dir)
		return append(all, candidate{kind: Named, python: python, prefix: filepath.Dir(filepath.Dir(python)), mandatory: true,
			cure: "mend environment.python in studio.yaml: a version that is installed, an interpreter, or the folder of an environment"})
	}
	for _, name := range []string{".venv", "venv"} {
		prefix := filepath.Join(p.Dir, name)
		if _, err := os.Stat(filepath.Join(prefix, "pyvenv.cfg")); err == nil {
			all = append(all, candidate{kind: Venv, python: interpreter(prefix), prefix: prefix, mandatory: true,
				cure: "remove " + prefix + " to have it made again"})
			break
		}
	}
	if prefix := os.Getenv("VIRTUAL_ENV"); prefix != "" {
		all = append(all, candidate{kind: Active, python: interpreter(prefix), prefix: prefix})
	}
	if prefix := os.Getenv("CONDA_PREFIX"); prefix != "" {
		all = append(all, candidate{kind: Conda, python: interpreter(prefix), prefix: prefix})
	}
	if python, absent := pinned(p.Dir); python != "" || absent != "" {
		all = append(all, candidate{kind: Pinned, python: python, absent: absent})
	}
	if _, err := os.Stat(systemPython); err == nil {
		all = append(all, candidate{kind: System, python: systemPython, prefix: "/usr"})
	}
	if python, err := exec.LookPath("python3"); err == nil && python != systemPython {
		all = append(all, candidate{kind: OnPath, python: python})
	}
	return all
}

func interpreter(prefix string) string { return filepath.Join(prefix, "bin", "python") }

// named turns environment.python into an interpreter's path.
func named(want, dir string) string {
	if filepath.IsAbs(want) {
		if info, err := os.Stat(want); err == nil && info.IsDir() {
			return interpreter(want)
		}
		return want
	}
	if versionForm.MatchString(want) {
		if python := installed(want); python != "" {
			return python
		}
		return "python" + want // not found: the error names what was looked for
	}
	if prefix := filepath.Join(dir, want); isFile(interpreter(prefix)) {
		return interpreter(prefix)
	}
	return want
}

var versionForm = regexp.MustCompile(`^\d+(\.\d+){0,2}$`)

// pinned is the interpreter of the nearest .python-version; absent says which one
// is named there and not installed.
func pinned(dir string) (python, absent string) {
	for at := dir; ; at = filepath.Dir(at) {
		file := filepath.Join(at, ".python-version")
		raw, err := os.ReadFile(file)
		if err == nil {
			names := strings.Fields(string(raw))
			for _, name := range names {
				if python := installed(name); python != "" {
					return python, ""
				}
			}
			return "", fmt.Sprintf("Python %s, named in %s, is not installed", strings.Join(names, " or "), file)
		}
		if at == "/" {
			return "", ""
		}
	}
}

// installed finds an interpreter by version (3.11, 3.11.7) or by the name of a
// pyenv environment: pyenv's, uv's, or pythonX.Y on the path. The newest wins.
func installed(name string) string {
	if strings.ContainsAny(name, "/*?[") {
		return ""
	}
	home, _ := os.UserHomeDir()
	pyenv := os.Getenv("PYENV_ROOT")
	if pyenv == "" {
		pyenv = filepath.Join(home, ".pyenv")
	}
	data := os.Getenv("XDG_DATA_HOME")
	if data == "" {
		data = filepath.Join(home, ".local", "share")
	}
	if python := filepath.Join(pyenv, "versions", name, "bin", "python"); isFile(python) {
		return python
	}
	var found []string
	for _, pattern := range []string{
		filepath.Join(pyenv, "versions", name+".*", "bin", "python"),
		filepath.Join(data, "uv", "python", "cpython-"+name+".*", "bin", "python3"),
		filepath.Join(data, "uv", "python", "cpython-"+name+"-*", "bin", "python3"),
	} {
		hits, _ := filepath.Glob(pattern)
		found = append(found, hits...)
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) })
	}
	if versionForm.MatchString(name) {
		if python, err := exec.LookPath("python" + name); err == nil {
			return python
		}
	}
	return ""
}

var digits = regexp.MustCompile(`\d+`)

// numbers makes 3.9 smaller than 3.11.
func numbers(python string) []int {
	var all []int
	for _, d := range digits.FindAllString(filepath.Base(filepath.Dir(filepath.Dir(python))), 3) {
		n, _ := strconv.Atoi(d)
		all = append(all, n)
	}
	return all
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
