package kept

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// write makes files below dir, by their paths.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSaveNamesAndMovesWhatMatters(t *testing.T) {
	root, upper := t.TempDir(), t.TempDir()
	write(t, root, map[string]string{"model.bin": "weights", "tmp/scratch": "x", "data/in": "x", "database": "rows", "a/__pycache__/m.pyc": "x", "a/m.pyc": "x"})
	write(t, upper, map[string]string{"local/lib/pkg.py": "code"})
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	s := &Store{Dir: t.TempDir(), Budget: 1000}
	sources := []Source{{root, "/"}, {upper, "/usr"}, {filepath.Join(root, "missing"), "/opt"}}
	r, err := s.Save("ns_pod/main-0", sources, []string{"/tmp", "/data"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/database", "/model.bin", "/usr/local/lib/pkg.py"}
	if !slices.Equal(r.Files, want) {
		t.Fatalf("files %q, want %q", r.Files, want)
	}
	if want := filepath.Join(s.Dir, "ns_pod/main-0"); r.Dir != want {
		t.Fatalf("kept in %q, want %q", r.Dir, want)
	}
	raw, err := os.ReadFile(filepath.Join(r.Dir, "usr/local/lib/pkg.py"))
	if err != nil || string(raw) != "code" {
		t.Errorf("kept %q, %v", raw, err)
	}
	// The next of the same name has its own folder.
	write(t, root, map[string]string{"model.bin": "again"})
	next, err := s.Save("ns_pod/main-0", sources, []string{"/tmp", "/data"})
	if err != nil || next.Dir == r.Dir || next.Dir == "" {
		t.Errorf("a second save went to %q, %v", next.Dir, err)
	}
}

func TestSaveStaysInItsBudget(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Budget: 100}
	save := func(name string, size int, age time.Duration) Result {
		t.Helper()
		src := t.TempDir()
		write(t, src, map[string]string{"f": string(make([]byte, size))})
		r, err := s.Save(name, []Source{{src, "/"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Dir != "" {
			then := time.Now().Add(-age)
			if err := os.Chtimes(r.Dir, then, then); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	oldest, newer := save("p1/c-0", 40, 2*time.Hour), save("p2/c-0", 40, time.Hour)
	if r := save("p3/c-0", 101, 0); r.Dir != "" || len(r.Files) != 1 {
		t.Errorf("what exceeds the budget: kept in %q, named %q", r.Dir, r.Files)
	}
	latest := save("p4/c-0", 40, 0)
	for dir, want := range map[string]bool{oldest.Dir: false, newer.Dir: true, latest.Dir: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: kept is %v, want %v", dir, err == nil, want)
		}
	}
}

func TestListAndCopy(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Budget: 1000}
	for i, name := range []string{"default_a-1/main-0", "team_b/side-2"} {
		root := t.TempDir()
		write(t, root, map[string]string{"out/model.bin": name, "x.txt": "x"})
		r, err := s.Save(name, []Source{{root, "/"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(time.Duration(i-2) * time.Hour)
		if err := os.Chtimes(r.Dir, when, when); err != nil {
			t.Fatal(err)
		}
	}
	all, err := List(s.Dir)
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	b := all[1]
	if b.Namespace != "team" || b.Pod != "b" || b.Container != "side-2" || !slices.Equal(b.Files, []string{"/out/model.bin", "/x.txt"}) || b.Bytes != int64(len("team_b/side-2")+1) {
		t.Errorf("listed %+v", b)
	}
	to := t.TempDir()
	files, err := b.Copy(to)
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	if raw, err := os.ReadFile(filepath.Join(to, "out/model.bin")); err != nil || string(raw) != "team_b/side-2" {
		t.Errorf("copied %q, %v", raw, err)
	}
	if _, err := b.Copy(to); !os.IsExist(unwrapped(err)) {
		t.Errorf("a second copy over the first: %v", err)
	}
	if all, err := List(filepath.Join(s.Dir, "nothing")); err != nil || len(all) != 0 {
		t.Errorf("a store that is not there: %v, %v", all, err)
	}
}

func unwrapped(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
