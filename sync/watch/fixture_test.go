package watch

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fixture is a watched folder and a mirror that is kept by the sets alone.
type fixture struct {
	*testing.T
	root string
	w    *Watcher
	sets chan Set

	mu     sync.Mutex
	mirror map[string]string // path: content
	notes  []string
	stop   func()
}

// start watches root, or a new folder.
func start(t *testing.T, root string, opt Options) *fixture {
	t.Helper()
	return prepared(t, root, opt, func(*Watcher) {})
}

// prepared changes the watcher before it runs.
func prepared(t *testing.T, root string, opt Options, prepare func(*Watcher)) *fixture {
	t.Helper()
	if root == "" {
		root = t.TempDir()
	}
	f := &fixture{T: t, root: root, sets: make(chan Set, 100000)}
	opt.Note = func(text string) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.notes = append(f.notes, text)
	}
	var err error
	if f.w, err = Open(root, opt); err != nil {
		t.Fatal(err)
	}
	prepare(f.w)
	f.mirror = filesIn(f.w.root)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.w.Run(ctx, f.apply)
	}()
	f.stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(f.stop)
	return f
}

// apply does to the mirror what a set says.
func (f *fixture) apply(s Set) {
	f.mu.Lock()
	for _, c := range s.Changes {
		_, had := f.mirror[c.Path]
		if had == (c.Kind == Added) {
			f.Errorf("%s is said to be %s, but was there before: %v", c.Path, c.Kind, had)
		}
		if c.Kind == Removed {
			delete(f.mirror, c.Path)
		} else {
			f.mirror[c.Path] = content(filepath.Join(f.w.root, c.Path))
		}
	}
	f.mu.Unlock()
	f.sets <- s
}

func content(path string) string {
	if target, err := os.Readlink(path); err == nil {
		return "-> " + target
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "gone"
	}
	return string(text)
}

// filesIn is what really lies in a folder, read without the watcher's code.
func filesIn(root string) map[string]string {
	all := map[string]string{}
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (d.Type().IsRegular() || d.Type()&fs.ModeSymlink != 0) {
			rel, _ := filepath.Rel(root, path)
			all[rel] = content(path)
		}
		return nil
	})
	return all
}

// next returns the next set, at most within a few seconds.
func (f *fixture) next() Set {
	f.Helper()
	select {
	case s := <-f.sets:
		return s
	case <-time.After(10 * time.Second):
		f.Fatalf("no set came; notes: %q", f.notes)
	}
	return Set{}
}

// expect wants exactly these changes in all sets that come, "+a ~b -c", in any
// order, and then silence.
func (f *fixture) expect(want string) {
	f.Helper()
	wanted := strings.Fields(want)
	slices.Sort(wanted)
	var got []string
	for len(got) < len(wanted) {
		got = append(got, signs(f.next())...)
	}
	slices.Sort(got)
	if !slices.Equal(got, wanted) {
		f.Fatalf("changes %q, want %q", got, wanted)
	}
	f.silent()
}

// silent wants nothing more to be told.
func (f *fixture) silent() {
	f.Helper()
	select {
	case s := <-f.sets:
		f.Fatalf("told besides: %q", signs(s))
	case <-time.After(4 * f.w.opt.Quiet):
	}
}

func signs(s Set) []string {
	var all []string
	for _, c := range s.Changes {
		all = append(all, map[Kind]string{Added: "+", Modified: "~", Removed: "-"}[c.Kind]+c.Path)
	}
	return all
}

// same waits until the mirror is what really is there, and stays so.
func (f *fixture) same(within time.Duration) {
	f.Helper()
	var diff []string
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		real := filesIn(f.root)
		f.mu.Lock()
		diff = differ(f.mirror, real)
		f.mu.Unlock()
		if len(diff) == 0 {
			return
		}
	}
	f.Fatalf("%d differences after %v:\n%s", len(diff), within, strings.Join(diff[:min(20, len(diff))], "\n"))
}

func differ(told, real map[string]string) []string {
	var diff []string
	for _, path := range slices.Sorted(maps.Keys(real)) {
		if was, ok := told[path]; !ok {
			diff = append(diff, "not told: "+path)
		} else if was != real[path] {
			diff = append(diff, fmt.Sprintf("stale: %s: told %.40q, is %.40q", path, was, real[path]))
		}
	}
	for path := range told {
		if _, ok := real[path]; !ok {
			diff = append(diff, "still told: "+path)
		}
	}
	return diff
}

func (f *fixture) path(name string) string { return filepath.Join(f.root, name) }

func (f *fixture) write(name, text string) {
	f.Helper()
	f.must(os.MkdirAll(filepath.Dir(f.path(name)), 0o755))
	f.must(os.WriteFile(f.path(name), []byte(text), 0o644))
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// runs a real program in the folder; without it the test is skipped, loudly.
func (f *fixture) runs(program string, args ...string) {
	f.Helper()
	if _, err := exec.LookPath(program); err != nil {
		f.Skipf("SKIPPED: %s is not installed", program)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = f.root
	cmd.Env = append(os.Environ(), "HOME="+f.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "TERM=dumb")
	if out, err := cmd.CombinedOutput(); err != nil {
		f.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

// inMemory is a folder for tests of many thousand operations: a disk's journal
// would be most of their time.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "watch-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
