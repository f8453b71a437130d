package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// largeEnv has the tests of large trees run; `make e2e-sync` sets it.
const largeEnv = "STUDIO_SYNC_TESTS"

func large(t *testing.T) {
	t.Helper()
	if os.Getenv(largeEnv) == "" {
		t.Skip("SKIPPED: large trees; `make e2e-sync` runs this")
	}
}

// fill makes n files in folders of 50.
func fill(t *testing.T, root string, n int) {
	t.Helper()
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("p%d/q%d", i/1000, i/50%20))
		if i%50 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("module_%d.py", i)), fmt.Appendf(nil, "x = %d\n", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// A tree of 100,000 files: what it costs to begin, and to hold.
func TestHundredThousandFiles(t *testing.T) {
	large(t)
	root := t.TempDir()
	const n = 100_000
	fill(t, root, n)
	before := heap()
	begin := time.Now()
	f := &fixture{T: t, root: root}
	w, err := Open(root, Options{})
	f.must(err)
	took, cost := time.Since(begin), heap()-before
	defer w.closeEvents()
	t.Logf("%d files in %d folders: %v to begin, %d MiB of memory", w.Status().Files, w.Status().Dirs, took.Round(time.Millisecond), cost>>20)
	if w.Status().Files != n {
		t.Errorf("%d files are known, want %d", w.Status().Files, n)
	}
	if took > 10*time.Second || cost > 64<<20 {
		t.Errorf("beginning took %v and %d MiB; want at most 10 s and 64 MiB", took, cost>>20)
	}
}

// A branch switch that touches 50,000 files, by git itself.
func TestBranchSwitch(t *testing.T) {
	large(t)
	root := t.TempDir()
	f := &fixture{T: t, root: root}
	git := func(args ...string) {
		f.runs("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0"}, args...)...)
	}
	git("init", "-q", "-b", "main")
	f.write(".gitignore", "*.log\n")
	git("add", ".")
	git("commit", "-qm", "x")
	git("checkout", "-q", "-b", "other")
	fill(t, root, 50_000)
	git("add", ".")
	git("commit", "-qm", "y")
	git("checkout", "-q", "main")
	f = start(t, root, Options{})
	ignoreGit := func(want int) {
		t.Helper()
		begin := time.Now()
		for f.told() != want && time.Since(begin) < time.Minute {
			time.Sleep(20 * time.Millisecond)
		}
		if f.told() != want {
			t.Fatalf("%d files are told, want %d", f.told(), want)
		}
		t.Logf("%d files after %v more", want, time.Since(begin).Round(10*time.Millisecond))
	}
	begin := time.Now()
	git("checkout", "-q", "other")
	t.Logf("git took %v", time.Since(begin).Round(10*time.Millisecond))
	ignoreGit(50_001)
	f.write("p7/q7/module_7350.py", "y = 1\n")
	time.Sleep(200 * time.Millisecond)
	if got := f.mirror["p7/q7/module_7350.py"]; got != "y = 1\n" {
		t.Errorf("after the switch a saved file is told as %q", got)
	}
	git("checkout", "-qf", "main")
	ignoreGit(1)
}

// told counts the mirror, without what git keeps.
func (f *fixture) told() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for path := range f.mirror {
		if len(path) < 5 || path[:5] != ".git/" {
			n++
		}
	}
	return n
}
