package pyenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlstudio/studio/project"
)

// The dependencies of a pyproject.toml are installed, the lock file records them,
// and what happens to the environment afterwards is seen.
func TestPyprojectAndLock(t *testing.T) {
	ctx := context.Background()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		t.Setenv(name, "")
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	pkg := ourTool(t, dir)
	declared := "[project]\nname = 'mine'\nversion = '1'\ndependencies = [\n  'ourtool @ file://" + pkg + "',\n]\n"
	if err := os.WriteFile(filepath.Join(work, "pyproject.toml"), []byte(declared), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := project.Open(work)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Resolve(ctx, p, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != Created || e.Prefix != filepath.Join(work, ".venv") {
		t.Fatalf("took %+v", e)
	}
	now, err := e.Installed(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(now.Packages, func(p Package) bool { return p.Name == "ourtool" })
	if i < 0 || now.Packages[i].Version != "1" || now.Packages[i].Source != "file://"+pkg || !strings.HasPrefix(now.Packages[i].Hash, "sha256:") {
		t.Fatalf("listed %+v", now.Packages)
	}
	if l, err := ReadLock(work); l != nil || err != nil {
		t.Errorf("without a lock file: %+v, %v", l, err)
	}
	if err := now.Write(work); err != nil {
		t.Fatal(err)
	}
	locked, err := ReadLock(work)
	if err != nil || len(locked.Diff(now)) != 0 {
		t.Fatalf("what was written differs: %v, %v", locked.Diff(now), err)
	}
	if out, err := exec.Command(e.Python, "-m", "pip", "uninstall", "-q", "-y", "ourtool").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if now, err = e.Installed(ctx); err != nil {
		t.Fatal(err)
	}
	if got := locked.Diff(now); len(got) != 1 || got[0].String() != "- ourtool 1" {
		t.Errorf("after the removal: %v", got)
	}
	// An environment that Studio made is completed again.
	if e, err = Resolve(ctx, p, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if now, err = e.Installed(ctx); err != nil || len(locked.Diff(now)) != 0 {
		t.Errorf("made again: %v, %v", locked.Diff(now), err)
	}
}

func TestDiff(t *testing.T) {
	one := &Lock{Python: "3.11.2", Implementation: "cpython", Packages: []Package{{Name: "a", Version: "1", Hash: "x"}, {Name: "b", Version: "1", Hash: "x"}, {Name: "c", Version: "1", Hash: "x"}}}
	two := &Lock{Python: "3.12.0", Implementation: "cpython", Packages: []Package{{Name: "a", Version: "2", Hash: "y"}, {Name: "b", Version: "1", Hash: "y"}, {Name: "d", Version: "1", Hash: "x"}}}
	var got []string
	for _, c := range one.Diff(two) {
		got = append(got, c.String())
	}
	if want := []string{"~ python 3.11.2 -> 3.12.0", "~ a 1 -> 2", "~ b 1 (other files)", "- c 1", "+ d 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBadLockFile(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"version: 1\nbogus: 2\n":  "this is no lock file",
		"version: 9\n":            "version: this version of Studio reads 1, not 9",
		"{":                       "this is no lock file",
		"packages: [{name: [a]}]": "this is no lock file",
	} {
		if err := os.WriteFile(filepath.Join(dir, LockName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLock(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "studio env lock") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
