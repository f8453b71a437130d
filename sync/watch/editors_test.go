package watch

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Each really runs, in a folder with train.py, and must come out as exactly the
// changes named: no temporary, swap or backup file, and no file that was away for
// a moment.
func TestEditorsAndTools(t *testing.T) {
	for _, c := range []struct {
		name, want string
		run        func(f *fixture)
	}{
		{"vim", "~train.py", func(f *fixture) { f.runs("vim", "-u", "NONE", "-N", "-es", "-c", "%s/a/b/", "-c", "wq", "train.py") }},
		{"vim, backup and swap kept", "~train.py", func(f *fixture) {
			f.runs("vim", "-u", "NONE", "-N", "-es", "--cmd", "set backup backupcopy=no swapfile", "-c", "%s/a/b/", "-c", "w", "-c", "sleep 100m", "-c", "q", "train.py")
		}},
		{"vim, in place", "~train.py", func(f *fixture) {
			f.runs("vim", "-u", "NONE", "-N", "-es", "--cmd", "set backupcopy=yes", "-c", "%s/a/b/", "-c", "wq", "train.py")
		}},
		{"emacs", "~train.py", func(f *fixture) {
			f.runs("emacs", "-Q", "--batch", "--eval", `(progn (find-file "train.py") (insert "x = 1\n") (do-auto-save) (save-buffer))`)
		}},
		{"sed -i", "~train.py", func(f *fixture) { f.runs("sed", "-i", "s/a/b/", "train.py") }},
		{"sed -i with a backup", "~train.py", func(f *fixture) { f.runs("sed", "-i~", "s/a/b/", "train.py") }},
		{"append", "~train.py", func(f *fixture) { f.runs("sh", "-c", "echo b >> train.py") }},
		{"rsync", "~train.py +new/deep/file", func(f *fixture) {
			from := f.TempDir()
			f.must(os.WriteFile(filepath.Join(from, "train.py"), []byte("quite other\n"), 0o644))
			f.must(os.MkdirAll(filepath.Join(from, "new/deep"), 0o755))
			f.must(os.WriteFile(filepath.Join(from, "new/deep/file"), []byte("1"), 0o644))
			f.runs("rsync", "-a", from+"/", "./")
		}},
		{"rsync in place", "~train.py", func(f *fixture) {
			from := f.TempDir()
			f.must(os.WriteFile(filepath.Join(from, "train.py"), []byte("quite other\n"), 0o644))
			f.runs("rsync", "-a", "--inplace", from+"/", "./")
		}},
		{"git checkout", "~train.py +added.py -util.py", func(f *fixture) { f.runs("git", "checkout", "-q", "other") }},
		{"git stash", "", func(f *fixture) { // there and back within the quiet time or not: the end counts
			f.runs("sh", "-c", "echo b >> train.py && git stash -q && git stash pop -q && git checkout -q train.py")
		}},
		{"VS Code", "~train.py", func(f *fixture) { // open with O_TRUNC, write, fsync
			out, err := os.OpenFile(f.path("train.py"), os.O_WRONLY|os.O_TRUNC, 0)
			f.must(err)
			time.Sleep(5 * time.Millisecond)
			out.WriteString("b = 2\n")
			f.must(out.Sync())
			f.must(out.Close())
		}},
		{"VS Code, atomic", "~train.py", func(f *fixture) {
			f.must(os.WriteFile(f.path("train.py.vsctmp"), []byte("b = 2\n"), 0o644))
			f.must(os.Rename(f.path("train.py.vsctmp"), f.path("train.py")))
		}},
		{"JetBrains, safe write", "~train.py", func(f *fixture) {
			f.must(os.WriteFile(f.path("train.py___jb_tmp___"), []byte("b = 2\n"), 0o644))
			f.must(os.Rename(f.path("train.py"), f.path("train.py___jb_old___")))
			time.Sleep(10 * time.Millisecond) // away for a moment
			f.must(os.Rename(f.path("train.py___jb_tmp___"), f.path("train.py")))
			f.must(os.Remove(f.path("train.py___jb_old___")))
		}},
		{"GNOME's editors", "~train.py", func(f *fixture) {
			f.must(os.WriteFile(f.path(".goutputstream-AB12CD"), []byte("b = 2\n"), 0o644))
			f.must(os.Link(f.path("train.py"), f.path("train.py~")))
			f.must(os.Rename(f.path(".goutputstream-AB12CD"), f.path("train.py")))
		}},
		{"JupyterLab", "~train.py", func(f *fixture) { // a copy aside, then in place, then a checkpoint
			f.must(os.WriteFile(f.path(".~train.py"), []byte("a = 1\n"), 0o644))
			f.must(os.WriteFile(f.path("train.py"), []byte("b = 2\n"), 0o644))
			f.must(os.Remove(f.path(".~train.py")))
			f.write(".ipynb_checkpoints/train-checkpoint.py", "b = 2\n")
		}},
		{"a save of what it was", "", func(f *fixture) {
			f.must(os.WriteFile(f.path("train.py"), []byte("a = 1\n"), 0o644))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, "", Options{Quiet: 150 * time.Millisecond}) // the machine may be busy
			f.write("train.py", "a = 1\n")
			f.write("util.py", "u = 1\n")
			f.expect("+train.py +util.py")
			if strings.HasPrefix(c.name, "git") {
				f.runs("git", "init", "-q", "-b", "main")
				commit := "git -c user.name=a -c user.email=a@b commit -qam x"
				f.runs("sh", "-c", "git config user.name a; git config user.email a@b; git add . && "+commit+" && git checkout -q -b other && echo b >> train.py && git rm -q util.py && echo 1 > added.py && git add . && "+commit+" && git checkout -q main")
				time.Sleep(600 * time.Millisecond)
				for len(f.sets) > 0 {
					<-f.sets
				}
			}
			c.run(f)
			f.expectNet(c.want)
			if told := f.mirror["train.py"]; told != content(f.path("train.py")) {
				t.Errorf("train.py was told with %q, is %q", told, content(f.path("train.py")))
			}
		})
	}
}

// expectNet wants these changes; one that comes in two sets counts once, and a
// file that is told and taken back not at all.
func (f *fixture) expectNet(want string) {
	f.Helper()
	net := map[string]string{}
	for deadline := time.After(4*f.w.opt.Quiet + 300*time.Millisecond); ; {
		select {
		case s := <-f.sets:
			for _, sign := range signs(s) {
				net[sign[1:]] += sign[:1]
			}
			continue
		case <-deadline:
		}
		break
	}
	for _, sign := range strings.Fields(want) {
		if got := net[sign[1:]]; got == "" || strings.Trim(got, sign[:1]) != "" {
			f.Errorf("%s is told as %q, want %q", sign[1:], got, sign[:1])
		}
		delete(net, sign[1:])
	}
	for path, got := range net {
		if want != "" || strings.Trim(got, "~") != "" { // without a net change a file may have been seen on its way
			f.Errorf("besides: %s%s", got, path)
		}
	}
}

// vfat knows no case, no inode numbers that last, and times of two seconds.
func TestVfat(t *testing.T) {
	t.Parallel()
	mount := vfat(t)
	root := filepath.Join(mount, "project")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	f := start(t, root, Options{})
	f.write("Train.py", "a")
	f.write("Data/x.csv", "1")
	f.expect("+Train.py +Data/x.csv")
	f.write("train.PY", "b") // the same file
	f.expect("~Train.py")
	f.write("DATA/X.csv", "2")
	f.expect("~Data/x.csv")
	f.write("Train.py", "c") // the same size, within the same two seconds
	f.expect("~Train.py")
	f.must(os.Rename(f.path("Train.py"), f.path("train.py")))
	f.expect("-Train.py +train.py")
	f.must(os.Rename(f.path("Data"), f.path("other")))
	f.expect("-Data/x.csv +other/x.csv")
	f.must(os.Remove(f.path("TRAIN.py")))
	f.expect("-train.py")
	for i := range 40 {
		f.write(fmt.Sprintf("d%d/F%d", i%4, i), fmt.Sprint(i))
		f.write(fmt.Sprintf("D%d/f%d", i%4, i/2), fmt.Sprint(i))
	}
	f.same(5 * time.Second)
}

// A file system in a process tells nothing of what happens behind it.
func TestFuse(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bindfs"); err != nil {
		t.Skip("SKIPPED: bindfs is not installed")
	}
	behind, mount := t.TempDir(), t.TempDir()
	if out, err := exec.Command("bindfs", behind, mount).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: bindfs can not mount here: %v: %s", err, bytes.TrimSpace(out))
	}
	t.Cleanup(func() { unix.Unmount(mount, unix.MNT_DETACH) })
	f := start(t, mount, Options{Poll: 100 * time.Millisecond})
	f.needsNote("lies on FUSE, which tells no changes; it is compared every 100ms instead")
	at := func(name string) string { return filepath.Join(behind, name) }
	f.must(os.WriteFile(at("a"), []byte("1"), 0o644))
	f.must(os.Mkdir(at("d"), 0o755))
	f.must(os.WriteFile(at("d/b"), []byte("1"), 0o644))
	f.expect("+a +d/b")
	f.must(os.WriteFile(at("d/b"), []byte("2"), 0o644))
	f.expect("~d/b")
	f.must(os.Rename(at("d"), at("e")))
	f.must(os.Remove(at("a")))
	f.expect("-a -d/b +e/b")
}

// vfat makes one on a loop device.
func vfat(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: mounting vfat needs root")
	}
	if _, err := exec.LookPath("mkfs.vfat"); err != nil {
		t.Skip("SKIPPED: mkfs.vfat is not installed")
	}
	image, mount := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 32<<20); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.vfat", image}, {"mount", "-o", "loop", image, mount}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: %v: %v: %s", args, err, bytes.TrimSpace(out))
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Errorf("unmounting: %v", err)
			unix.Unmount(mount, unix.MNT_DETACH)
		}
	})
	return mount
}
