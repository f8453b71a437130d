package watchdog

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plainUser is any user without rights and files.
const plainUser = 61234

// contained starts a script as a container is one: the first process of a PID
// namespace with a proc of its own, of a plain user.
func contained(t *testing.T, script string) (first *exec.Cmd, proc *os.File) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "mount -t proc proc /proc && read go && "+script)
	id := os.Getuid()
	if id == 0 {
		id = plainUser
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL, Setsid: true,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}},
	}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	// A bomb that is not found in time is not to take the machine that tests it.
	most := unix.Rlimit{Cur: 2000, Max: 2000}
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_NPROC, &most, nil); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/proc/%d/root/proc", cmd.Process.Pid)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if found, _ := filepath.Glob(path + "/[0-9]*"); len(found) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the script has no proc of its own")
		}
	}
	if proc, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "go")
	return cmd, proc
}

// watch returns what was too much and after how long.
func watch(t *testing.T, script string, l Limits) (Excess, time.Duration) {
	t.Helper()
	cmd, proc := contained(t, script)
	over := make(chan Excess, 1)
	start := time.Now()
	w := Start(proc, nil, l, func(e Excess) {
		cmd.Process.Kill()
		over <- e
	})
	defer w.Stop()
	select {
	case e := <-over:
		return e, time.Since(start)
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was too much")
		return Excess{}, 0
	}
}

func TestForkBomb(t *testing.T) {
	e, took := watch(t, `exec bash -c 'b() { b | b & }; b; sleep 60'`, Limits{Tasks: 300})
	if e.Memory || e.Used <= 300 {
		t.Errorf("%+v", e)
	}
	t.Logf("%v, after %v", e, took)
}

func TestMemory(t *testing.T) {
	const limit = 100 << 20
	e, took := watch(t, `exec python3 -c 'a=[]
while True: a.append(bytearray(1<<20))'`, Limits{Memory: limit})
	if !e.Memory || e.Used <= limit {
		t.Errorf("%+v", e)
	}
	t.Logf("%v, after %v", e, took)
	if e.Used > 20*limit {
		t.Errorf("it was let to have %d MiB", e.Used>>20)
	}
}

// A program that forks does not have its memory twice.
func TestSharedMemory(t *testing.T) {
	cmd, proc := contained(t, `exec python3 -c 'import os,time
a=bytearray(60<<20)
for i in range(4): os.fork() or time.sleep(60)
time.sleep(60)'`)
	w := Start(proc, nil, Limits{Memory: 150 << 20}, func(e Excess) { t.Errorf("ended for %v", e) })
	defer w.Stop()
	p := newProcs(reopen(t, cmd.Process.Pid), nil)
	defer p.close()
	for deadline := time.Now().Add(10 * time.Second); p.look(0).memory < 250<<20; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the processes have %d MiB together", p.look(0).memory>>20)
		}
	}
	if exact := p.exact(); exact < 60<<20 || exact > 150<<20 {
		t.Errorf("%d MiB, each page counted once", exact>>20)
	}
	time.Sleep(300 * time.Millisecond) // some looks
}

func reopen(t *testing.T, pid int) *os.File {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/root/proc", pid))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPause(t *testing.T) {
	l := Limits{Memory: 1 << 30, Tasks: 1000}
	idle := use{memory: 100 << 20, tasks: 5}
	for _, c := range []struct {
		what        string
		before, now use
		since       time.Duration
		free        int64
		least, most time.Duration
	}{
		{"nothing grows, memory is free", idle, idle, time.Second, 16 << 30, longest, longest},
		{"the machine has little left", idle, idle, time.Second, 256 << 20, 200 * time.Millisecond, 300 * time.Millisecond},
		{"memory grows by a gigabyte a second", idle, use{memory: 600 << 20, tasks: 5}, time.Second / 2, 16 << 30, shortest, 300 * time.Millisecond},
		{"tasks grow", idle, use{memory: 100 << 20, tasks: 50}, time.Second, 16 << 30, shortest, shortest},
		{"at the limit", idle, use{memory: 1 << 30, tasks: 5}, time.Second, 16 << 30, shortest, shortest},
	} {
		if p := pause(l, c.before, c.now, c.since, c.free); p < c.least || p > c.most {
			t.Errorf("%s: the next look comes after %v, want %v to %v", c.what, p, c.least, c.most)
		}
	}
}
