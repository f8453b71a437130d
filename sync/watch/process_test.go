package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A copy of the test program that only watches: the variable names the folder.
const (
	watchEnv  = "WATCH_TEST_ROOT"
	limitsEnv = "WATCH_TEST_LIMITS" // "watches instances", set in its own user namespace
)

func TestMain(m *testing.M) {
	if root := os.Getenv(watchEnv); root != "" {
		if err := watchAlone(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// said is a line of the copy.
type said struct {
	Ready   bool
	Note    string
	Changes []Change
}

func watchAlone(root string) error {
	out := json.NewEncoder(os.Stdout)
	if limits := strings.Fields(os.Getenv(limitsEnv)); len(limits) == 2 {
		for i, name := range []string{"watches", "instances"} {
			if err := os.WriteFile("/proc/sys/user/max_inotify_"+name, []byte(limits[i]), 0); err != nil {
				return err
			}
		}
	}
	w, err := Open(root, Options{Poll: 100 * time.Millisecond, Note: func(text string) { out.Encode(said{Note: text}) }})
	if err != nil {
		return err
	}
	out.Encode(said{Ready: true})
	return w.Run(context.Background(), func(s Set) { out.Encode(said{Changes: s.Changes}) })
}

// alone starts a copy whose sets keep the fixture's mirror.
func alone(t *testing.T, limits string) (*fixture, *os.Process) {
	t.Helper()
	f := &fixture{T: t, root: inMemory(t), sets: make(chan Set, 100000), w: &Watcher{opt: Options{}.defaults()}}
	f.w.root = f.root
	f.mirror = map[string]string{}
	for i := range 20 {
		f.write(fmt.Sprintf("d%d/file", i), "1")
	}
	f.mirror = filesIn(f.root)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), watchEnv+"="+f.root, limitsEnv+"="+limits)
	cmd.Stderr = os.Stderr
	if limits != "" {
		id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		gid := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: gid}
	}
	out, err := cmd.StdoutPipe()
	f.must(err)
	if err := cmd.Start(); err != nil {
		if limits != "" {
			t.Skipf("SKIPPED: this user can make no user namespace (%v), in which limits are set", err)
		}
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for dec := json.NewDecoder(out); ; {
			var s said
			if dec.Decode(&s) != nil {
				return
			}
			switch {
			case s.Ready:
				close(ready)
			case s.Note != "":
				f.mu.Lock()
				f.notes = append(f.notes, s.Note)
				f.mu.Unlock()
			default:
				f.apply(Set{Changes: s.Changes})
			}
		}
	}()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended; cmd.Wait() })
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the copy did not begin to watch")
	}
	return f, cmd.Process
}

func TestStoppedForAWhile(t *testing.T) {
	t.Parallel()
	pause := 2 * time.Second
	if os.Getenv("STUDIO_SYNC_TESTS") != "" {
		pause = time.Minute
	}
	f, p := alone(t, "")
	f.must(p.Signal(syscall.SIGSTOP))
	end := time.Now().Add(pause)
	for i := range 20000 { // more than the kernel keeps
		f.write(fmt.Sprintf("d%d/file", i%20), fmt.Sprint(i))
	}
	f.must(os.RemoveAll(f.path("d3")))
	f.must(os.Rename(f.path("d4"), f.path("moved")))
	f.write("new/deep/file", "1")
	time.Sleep(time.Until(end))
	f.must(p.Signal(syscall.SIGCONT))
	f.same(10 * time.Second)
	f.write("moved/file", "after")
	f.write("new/deep/file", "after")
	f.same(5 * time.Second)
}

// With few watches most folders are compared at intervals, and it is said.
func TestUsedUpWatches(t *testing.T) {
	t.Parallel()
	f, _ := alone(t, "8 10")
	f.needsNote("sysctl fs.inotify.max_user_watches=")
	for i := range 20 {
		f.write(fmt.Sprintf("d%d/file", i), "2")
	}
	f.write("d9/more/deep", "1")
	f.must(os.RemoveAll(f.path("d8")))
	f.must(os.Rename(f.path("d7"), f.path("e7")))
	f.same(5 * time.Second)
	f.write("e7/file", "3")
	f.write("d9/more/deep", "2")
	f.same(5 * time.Second)
}

func TestNoInstanceLeft(t *testing.T) {
	t.Parallel()
	f, _ := alone(t, "100 0")
	f.needsNote("sysctl fs.inotify.max_user_instances=")
	f.write("d1/file", "2")
	f.must(os.Remove(f.path("d2/file")))
	f.write("x/y/z", "1")
	f.same(5 * time.Second)
	f.must(os.RemoveAll(f.root))
	f.same(5 * time.Second)
	f.write("back", "1")
	f.same(5 * time.Second)
}

func (f *fixture) needsNote(want string) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.notes) != 1 || !strings.Contains(f.notes[0], want) {
		f.Fatalf("notes %q, want one with %q", f.notes, want)
	}
}
