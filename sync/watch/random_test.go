package watch

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRandomOperations does thousands of random things to a tree, in bursts and
// with pauses, and wants the sets alone to have led to the same tree each time it
// has come to rest.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	t.Run("as usual", func(t *testing.T) { randomly(t, func(*Watcher) {}) })
	// Reading listings instead of asking for names is right on every file system.
	t.Run("as without case", func(t *testing.T) {
		randomly(t, func(w *Watcher) { w.top.caseless, w.top.inodes = true, false })
	})
}

func randomly(t *testing.T, prepare func(*Watcher)) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	f := prepared(t, inMemory(t), Options{Quiet: 20 * time.Millisecond, MaxWait: 150 * time.Millisecond}, prepare)
	const rounds, operations = 30, 120
	for range rounds {
		for range operations {
			operate(r, f.root)
			if r.IntN(10) == 0 {
				time.Sleep(time.Duration(r.IntN(8000)) * time.Microsecond)
			}
		}
		f.same(10 * time.Second)
	}
}

// operate does one thing; that much of it fails is part of it. It makes no hard
// links: what is written by a name that is gone before it is seen can not be told
// of the others.
func operate(r *rand.Rand, root string) {
	name := func() string { return string(rune('a' + r.IntN(5))) }
	path := func() string {
		p := root
		for range 1 + r.IntN(3) {
			p = filepath.Join(p, name())
		}
		return p
	}
	text := func() []byte { return []byte(strings.Repeat(fmt.Sprint(r.IntN(10)), 1+r.IntN(3))) }
	p := path()
	switch r.IntN(12) {
	case 0, 1, 2:
		os.WriteFile(p, text(), 0o644)
	case 3:
		os.MkdirAll(p, 0o755)
	case 4:
		os.Remove(p)
	case 5:
		os.RemoveAll(p)
	case 6:
		os.Rename(p, path())
	case 7: // an atomic save
		tmp := p + ".tmp"
		os.WriteFile(tmp, text(), 0o644)
		os.Rename(tmp, p)
	case 8:
		unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, path(), unix.RENAME_EXCHANGE)
	case 9:
		os.Symlink(name(), p)
	case 10: // in two steps
		if f, err := os.OpenFile(p, os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			f.Write(text())
			time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
			f.Write(text())
			f.Close()
		}
	case 11: // a tree at once
		from := filepath.Join(root, name())
		into, err := filepath.EvalSymlinks(filepath.Dir(p))
		if real, err2 := filepath.EvalSymlinks(from); err == nil && err2 == nil && !strings.HasPrefix(into+"/", real+"/") {
			os.CopyFS(p, os.DirFS(real)) // not into itself
		}
	}
	if count(root) > 300 {
		os.RemoveAll(filepath.Join(root, name()))
	}
}

// count says how much is there: copies of copies must not grow for ever.
func count(root string) int {
	n := 0
	filepath.WalkDir(root, func(string, fs.DirEntry, error) error { n++; return nil })
	return n
}
