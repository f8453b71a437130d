package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOneSavedFileIsToldAtOnce(t *testing.T) {
	root := t.TempDir()
	for i := range 50 {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("f%02d.py", i)), []byte("a = 1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := start(t, root, Options{Quiet: time.Second})
	at := 0
	for i := range 3 {
		time.Sleep(1100 * time.Millisecond) // a quiet tree
		begin := time.Now()
		f.write(fmt.Sprintf("f%02d.py", i), fmt.Sprintf("a = %d\n", i+2))
		if got := signs(f.next()); len(got) != 1 || got[0] != fmt.Sprintf("~f%02d.py", i) {
			t.Fatalf("told %q", got)
		}
		if took := time.Since(begin); took < 100*time.Millisecond {
			at++
		}
	}
	if at < 2 { // one may meet a busy machine
		t.Errorf("only %d of 3 were told without waiting for the quiet time", at)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	f := start(t, "", Options{})
	f.write("a", "1")
	f.write("d/e/b", "1")
	f.expect("+a +d/e/b")
	f.write("a", "2")
	f.expect("~a")
	f.write("a", "2")
	f.silent() // the content is what it was
	f.must(os.Chmod(f.path("a"), 0o755))
	f.expect("~a")
	f.must(os.Rename(f.path("d"), f.path("g")))
	f.expect("-d/e/b +g/e/b")
	f.write("g/e/b", "2")
	f.expect("~g/e/b")
	f.must(os.RemoveAll(f.path("g")))
	f.expect("-g/e/b")
	f.must(os.Symlink("a", f.path("l")))
	f.expect("+l")
	f.must(os.Remove(f.path("l")))
	f.must(os.Symlink("elsewhere", f.path("l")))
	f.expect("~l")
	f.must(os.Remove(f.path("a")))
	f.must(os.Mkdir(f.path("a"), 0o755))
	f.write("a/x", "1")
	f.expect("-a +a/x")
	f.must(unix.Mkfifo(f.path("pipe"), 0o644))
	f.silent()
	f.same(time.Second)
}

func TestWhatIsIgnored(t *testing.T) {
	t.Parallel()
	f := start(t, "", Options{})
	f.write(".gitignore", "*.log\nout/\n")
	f.write("keep.txt", "1")
	f.expect("+.gitignore +keep.txt")
	f.write("x.log", "1")
	f.write("out/deep/y", "1")
	f.write("__pycache__/m.pyc", "1")
	f.write(".venv/lib/z.py", "1")
	f.silent()
	f.write(".studioignore", "!out/\nkeep.txt\n")
	f.expect("+.studioignore +out/deep/y -keep.txt")
	f.write("out/deep/y", "2")
	f.expect("~out/deep/y")
	f.must(os.Remove(f.path(".studioignore")))
	f.expect("-.studioignore -out/deep/y +keep.txt")
}

func TestAFileInWritingWaits(t *testing.T) {
	f := start(t, "", Options{})
	f.write("data.csv", "old\n")
	f.write("train.py", "a\n")
	f.expect("+data.csv +train.py")
	out, err := os.OpenFile(f.path("data.csv"), os.O_WRONLY|os.O_TRUNC, 0)
	f.must(err)
	defer out.Close()
	for range 8 { // longer than the quiet time, never as long without a write
		out.WriteString(strings.Repeat("x", 1000))
		time.Sleep(20 * time.Millisecond)
	}
	select {
	case s := <-f.sets:
		t.Fatalf("told while it is being written: %q", signs(s))
	default:
	}
	out.WriteString("end")
	f.must(out.Close())
	f.expect("~data.csv")
	// A log that is always being written does not hold up the others.
	log, err := os.OpenFile(f.path("data.csv"), os.O_WRONLY|os.O_APPEND, 0)
	f.must(err)
	defer log.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			log.WriteString("line\n")
			time.Sleep(5 * time.Millisecond)
		}
	}()
	time.Sleep(100 * time.Millisecond)
	begin := time.Now()
	f.write("train.py", "b\n")
	if got := signs(f.next()); got[0] != "~train.py" || time.Since(begin) > 300*time.Millisecond {
		t.Errorf("a busy log comes before a saved file: %q after %v", got, time.Since(begin))
	}
	<-done
	log.Close()
	f.same(2 * time.Second)
}

func TestFoldersFilledBeforeTheyAreWatched(t *testing.T) {
	t.Parallel()
	f := start(t, "", Options{})
	for i := range 200 {
		f.write(fmt.Sprintf("n%d/a/b/c/file", i), "1")
	}
	f.same(5 * time.Second)
	for i := range 200 {
		f.must(os.Rename(f.path(fmt.Sprintf("n%d", i)), f.path(fmt.Sprintf("m%d", i))))
		f.write(fmt.Sprintf("m%d/a/b/c/file", i), "2")
		f.write(fmt.Sprintf("n%d/a/b/c/file", i), "3") // another folder of the old name
	}
	f.same(5 * time.Second)
	for i := range 200 {
		f.write(fmt.Sprintf("m%d/a/b/c/file", i), "4")
	}
	f.same(5 * time.Second)
}

func TestTheRootGoesAndComes(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	root := filepath.Join(top, "deep", "project")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	f := start(t, root, Options{})
	f.write("a", "1")
	f.expect("+a")
	f.must(os.RemoveAll(filepath.Join(top, "deep")))
	f.expect("-a")
	f.write("b/c", "1")
	f.expect("+b/c")
	f.write("b/c", "2")
	f.expect("~b/c")
	// Replaced by another folder in one step.
	other := filepath.Join(top, "other")
	f.must(os.MkdirAll(other, 0o755))
	f.must(os.WriteFile(filepath.Join(other, "d"), []byte("1"), 0o644))
	f.must(unix.Renameat2(unix.AT_FDCWD, other, unix.AT_FDCWD, root, unix.RENAME_EXCHANGE))
	f.expect("-b/c +d")
	f.write("d", "2")
	f.expect("~d")
	// A folder above it gets another name: the project is not at its place any more.
	f.must(os.Rename(filepath.Join(top, "deep"), filepath.Join(top, "away")))
	f.must(os.WriteFile(filepath.Join(top, "away", "project", "d"), []byte("3"), 0o644))
	f.expect("-d")
	f.must(os.Rename(filepath.Join(top, "away"), filepath.Join(top, "deep")))
	f.expect("+d")
	f.same(time.Second)
}

// The emit function blocks until far more has happened than the kernel keeps.
func TestLostEvents(t *testing.T) {
	t.Parallel()
	f := start(t, inMemory(t), Options{})
	f.mu.Lock() // apply waits for it
	f.write("first", "1")
	time.Sleep(200 * time.Millisecond)
	limit := 30000
	for i := range limit {
		f.must(os.WriteFile(f.path("busy"), []byte(fmt.Sprint(i)), 0o644))
		if i%3 == 0 {
			f.must(os.Remove(f.path("busy")))
		}
	}
	f.write("late/deep/file", "1") // surely dropped
	f.must(os.Remove(f.path("first")))
	f.mu.Unlock()
	f.same(10 * time.Second)
	compared := false
	for len(f.sets) > 0 {
		compared = (<-f.sets).Compared || compared
	}
	if !compared {
		t.Error("no set says that events were lost: the test did not drop any")
	}
	f.write("late/deep/file", "2")
	f.expect("~late/deep/file")
}
