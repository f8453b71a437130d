package pyenv

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/project"
)

// open makes a project folder with the given files; no environment of the
// developer who runs the test is active.
func open(t *testing.T, files map[string]string) *project.Project {
	t.Helper()
	if _, err := os.Stat(systemPython); err != nil {
		t.Fatalf("%s is needed: %v; apt-get install python3 python3-venv", systemPython, err)
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PATH", "/usr/bin:/bin")
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", "XDG_DATA_HOME", "PIP_INDEX_URL"} {
		t.Setenv(name, "")
	}
	dir := filepath.Join(home, "work")
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := project.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wheel writes an installable package, so that pip really runs, without a network.
func wheel(t *testing.T, dir, name, version string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, name+"-"+version+"-py3-none-any.whl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	info := name + "-" + version + ".dist-info/"
	for path, content := range map[string]string{
		name + ".py":      "answer = 42\n",
		info + "METADATA": "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n",
		info + "WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		info + "RECORD":   "",
	} {
		w, err := z.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

type talk []string

func (s *talk) say(line string) { *s = append(*s, line) }

func (s talk) has(part string) bool {
	return slices.ContainsFunc(s, func(line string) bool { return strings.Contains(line, part) })
}

func TestSystemPythonWhereItHasAll(t *testing.T) {
	p := open(t, map[string]string{"requirements.txt": "# nothing for this version\nenum34>=1; python_version < \"3\"\n"})
	var said talk
	e, err := Resolve(t.Context(), p, said.say)
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != System || e.Python != systemPython || len(e.Mounts) != 0 || len(e.PathPrepend) != 0 {
		t.Errorf("got %+v", e)
	}
	if e.Env["PYTHONUNBUFFERED"] != "1" || e.Env["VIRTUAL_ENV"] != "" {
		t.Errorf("environment %v", e.Env)
	}
}

func TestProjectsOwnVenvWins(t *testing.T) {
	p := open(t, map[string]string{"requirements.txt": "nothing-has-this==9\n"})
	venv(t, filepath.Join(p.Dir, ".venv"))
	other := filepath.Join(t.TempDir(), "other")
	venv(t, other)
	t.Setenv("VIRTUAL_ENV", other)
	e, err := Resolve(t.Context(), p, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(p.Dir, ".venv")
	if e.Kind != Venv || e.Prefix != prefix || e.Env["VIRTUAL_ENV"] != prefix {
		t.Errorf("got %+v", e)
	}
	if want := []projects.Mount{{Path: prefix, ReadOnly: true}}; !slices.Equal(e.Mounts, want) {
		t.Errorf("mounts %v, want %v", e.Mounts, want)
	}
	if want := []string{filepath.Join(prefix, "bin")}; !slices.Equal(e.PathPrepend, want) {
		t.Errorf("path %v, want %v", e.PathPrepend, want)
	}
	if len(e.Missing) != 1 || e.Missing[0] != "nothing-has-this==9 (not installed)" {
		t.Errorf("missing %q", e.Missing)
	}
}

func TestActiveEnvironmentCounts(t *testing.T) {
	p := open(t, map[string]string{"train.py": ""})
	active := filepath.Join(t.TempDir(), "active")
	venv(t, active)
	t.Setenv("VIRTUAL_ENV", active)
	e, err := Resolve(t.Context(), p, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != Active || e.Prefix != active {
		t.Errorf("got %+v", e)
	}
}

func TestVenvIsMadeCompletedAndReused(t *testing.T) {
	p := open(t, map[string]string{"requirements.txt": "--no-index\n--find-links wheels\nstudiotest==1.0\n"})
	wheel(t, filepath.Join(p.Dir, "wheels"), "studiotest", "1.0")
	wheel(t, filepath.Join(p.Dir, "wheels"), "studiotest", "2.0")
	t.Chdir(p.Dir)
	var said talk
	e, err := Resolve(t.Context(), p, said.say)
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != Created || e.Prefix != filepath.Join(p.Dir, ".venv") || !said.has("making .venv") || !said.has("pip: Successfully installed") {
		t.Fatalf("got %+v, said %q", e, said)
	}
	if out, err := exec.Command(e.Python, "-c", "import studiotest; print(studiotest.answer)").CombinedOutput(); err != nil || string(out) != "42\n" {
		t.Fatalf("the package does not work: %s %v", out, err)
	}

	said = nil
	if e, err = Resolve(t.Context(), p, said.say); err != nil || e.Kind != Venv || len(said) != 0 {
		t.Fatalf("the second time: %+v, %v, said %q", e, err, said)
	}

	write(t, p.Requirements, "--no-index\n--find-links wheels\nstudiotest>=2\n")
	said = nil
	if e, err = Resolve(t.Context(), p, said.say); err != nil || !said.has("studiotest>=2 (1.0 is installed)") {
		t.Fatalf("with new requirements: %+v, %v, said %q", e, err, said)
	}

	// An interpreter that was removed by an upgrade.
	if err := os.Remove(filepath.Join(p.Dir, ".venv", "bin", "python3")); err != nil {
		t.Fatal(err)
	}
	if e, err = Resolve(t.Context(), p, said.say); err != nil || e.Kind != Created {
		t.Fatalf("with its interpreter gone: %+v, %v", e, err)
	}
}

func TestPipsOwnWordsComeFirst(t *testing.T) {
	p := open(t, map[string]string{"requirements.txt": "--no-index\nstudio-nowhere==1.0\n"})
	_, err := Resolve(t.Context(), p, func(string) {})
	if err == nil {
		t.Fatal("no error")
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	if !strings.HasPrefix(first, "ERROR: Could not find a version that satisfies the requirement studio-nowhere==1.0") {
		t.Errorf("got %q", err)
	}
	if !strings.Contains(err.Error(), "it wanted studio-nowhere==1.0 (not installed)") {
		t.Errorf("got %q", err)
	}
}

func TestCancelledResolveMakesNothing(t *testing.T) {
	p := open(t, map[string]string{"requirements.txt": "studio-nowhere\n"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Resolve(ctx, p, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, ".venv")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf(".venv was begun: %v", err)
	}
}

func TestNamedInterpreterThatIsNotThere(t *testing.T) {
	p := open(t, map[string]string{"studio.yaml": "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\nenvironment:\n  python: \"2.99\"\n"})
	_, err := Resolve(t.Context(), p, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "python2.99") || !strings.Contains(err.Error(), "mend environment.python") {
		t.Errorf("got %v", err)
	}
}

func TestWhatThePersonChoseIsNotPassedOverInSilence(t *testing.T) {
	p := open(t, map[string]string{".python-version": "2.99\n", "train.py": ""})
	t.Setenv("CONDA_PREFIX", "/nowhere")
	var said talk
	e, err := Resolve(t.Context(), p, said.say)
	if err != nil || e.Kind != System {
		t.Fatalf("got %+v, %v", e, err)
	}
	if !said.has("passed over: Python 2.99, named in") || !said.has("passed over: asking the interpreter /nowhere/bin/python") {
		t.Errorf("said %q", said)
	}
}

func venv(t *testing.T, prefix string) {
	t.Helper()
	if out, err := exec.Command(systemPython, "-m", "venv", "--without-pip", prefix).CombinedOutput(); err != nil {
		t.Fatalf("%s%v; apt-get install python3-venv", out, err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A tool sees the environment below it and its own packages, and leaves the environment as it was.
func TestToolOnTop(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run := func(python, script string) string {
		t.Helper()
		out, err := exec.Command(python, "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if out, err := exec.Command(systemPython, "-m", "venv", filepath.Join(dir, ".venv")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	below := filepath.Join(dir, ".venv", "lib", run(systemPython, "import sys; print('python%d.%d' % sys.version_info[:2])"), "site-packages")
	if err := os.WriteFile(filepath.Join(below, "mine.py"), []byte("where = 'below'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pkg := ourTool(t, dir)
	p, err := project.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Resolve(context.Background(), p, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	tool := Tool{Name: "ourtool", Modules: []string{"ourtool"}, Packages: []string{pkg}}
	installed := 0
	say := func(line string) {
		if strings.Contains(line, "lacks ourtool") {
			installed++
		}
	}
	for range 2 {
		with, err := e.With(context.Background(), tool, say)
		if err != nil {
			t.Fatal(err)
		}
		python := filepath.Join(with.PathPrepend[0], "python3")
		if got := run(python, "import mine, ourtool; print(mine.where, ourtool.here)"); got != "below on top" {
			t.Errorf("on top: %s", got)
		}
		if len(with.Mounts) != len(e.Mounts)+1 {
			t.Errorf("mounts %v", with.Mounts)
		}
	}
	if installed != 1 {
		t.Errorf("installed %d times", installed)
	}
	if has(context.Background(), e.Python, tool.Modules) {
		t.Error("the tool was installed into the person's environment")
	}
	if with, err := e.With(context.Background(), Tool{Name: "mine", Modules: []string{"mine"}}, say); err != nil || with != e {
		t.Errorf("what the environment has needs no tool: %v", err)
	}
	if _, err := e.With(context.Background(), Tool{Name: "no", Modules: []string{"no"}, Packages: []string{filepath.Join(dir, "nothing-here")}}, say); err == nil || !strings.Contains(err.Error(), "nothing-here") {
		t.Errorf("pip's own words are missing: %v", err)
	}
}

// ourTool is the source of a package that pip installs without any network.
func ourTool(t *testing.T, dir string) string {
	t.Helper()
	pkg := filepath.Join(dir, "pkg")
	if err := os.MkdirAll(pkg, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"pyproject.toml": "[project]\nname = 'ourtool'\nversion = '1'\n[build-system]\nrequires = []\nbuild-backend = 'build'\nbackend-path = ['.']\n",
		"build.py":       buildBackend,
	} {
		if err := os.WriteFile(filepath.Join(pkg, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return pkg
}

// buildBackend makes a wheel without anything from the network.
const buildBackend = `import zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "ourtool-1-py3-none-any.whl"
    with zipfile.ZipFile(folder + "/" + name, "w") as z:
        z.writestr("ourtool.py", "here = 'on top'\n")
        z.writestr("ourtool-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: ourtool\nVersion: 1\n")
        z.writestr("ourtool-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("ourtool-1.dist-info/RECORD", "")
    return name
`
