// Package proc looks at an engine's processes from outside, through /proc: who
// they are, what memory and processor time they use, and what is left of them.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is one process as /proc showed it.
type Process struct {
	PID, Parent int
	// Name is the program's file name: "studiod".
	Name string
	Args []string
}

func (p Process) String() string {
	return fmt.Sprintf("%d %s", p.PID, strings.Join(p.Args, " "))
}

// Mark is an environment variable, KEY=value, that an engine's processes inherit.
type Mark string

// Find returns the processes that belong to an engine: those that carry the
// mark, and those that see a mount from its folder (a container has an
// environment of its own). This process and its ancestors never count.
func Find(mark Mark, folder string) ([]Process, error) {
	skip, err := ancestors()
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || skip[pid] {
			continue
		}
		if !carries(dir, mark) && !mounts(dir, own, folder) {
			continue
		}
		// A process that ends while it is looked at is none.
		if p, err := read(dir, pid); err == nil {
			found = append(found, p)
		}
	}
	return found, nil
}

func carries(dir string, mark Mark) bool {
	env, err := os.ReadFile(filepath.Join(dir, "environ"))
	return err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+string(mark)+"\x00"))
}

// mounts: in the mount namespace of this process a mount is no process's own.
func mounts(dir, own, folder string) bool {
	if ns, err := os.Readlink(filepath.Join(dir, "ns", "mnt")); err != nil || ns == own {
		return false
	}
	info, err := os.ReadFile(filepath.Join(dir, "mountinfo"))
	return err == nil && bytes.Contains(info, []byte(folder))
}

func read(dir string, pid int) (Process, error) {
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return Process{}, err
	}
	state, parent, err := stat(dir)
	if err != nil {
		return Process{}, err
	}
	if state == "Z" || state == "X" {
		return Process{}, os.ErrProcessDone
	}
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	name := filepath.Base(args[0])
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
		name = strings.TrimPrefix(filepath.Base(strings.TrimSuffix(exe, " (deleted)")), "memfd:")
	}
	return Process{PID: pid, Parent: parent, Name: name, Args: args}, nil
}

// stat returns a process's state and its parent.
func stat(dir string) (state string, parent int, err error) {
	f, err := fields(dir)
	if err != nil {
		return "", 0, err
	}
	parent, err = strconv.Atoi(f[1])
	return f[0], parent, err
}

// fields are those of /proc/PID/stat after the name, which may hold anything.
func fields(dir string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(f) < 13 {
		return nil, fmt.Errorf("reading %s/stat: %d fields", dir, len(f))
	}
	return f, nil
}

func ancestors() (map[int]bool, error) {
	skip := map[int]bool{}
	for pid := os.Getpid(); pid > 0; {
		skip[pid] = true
		_, parent, err := stat(fmt.Sprintf("/proc/%d", pid))
		if err != nil {
			return nil, err
		}
		pid = parent
	}
	return skip, nil
}

// tick is the unit of processor time in /proc, fixed in Linux's interface.
const tick = time.Second / 100

// CPU is the processor time that the processes have used so far.
func CPU(ps []Process) (time.Duration, error) {
	var sum time.Duration
	for _, p := range ps {
		f, err := fields(fmt.Sprintf("/proc/%d", p.PID))
		if err != nil {
			return 0, fmt.Errorf("reading the processor time of %s: %w", p, err)
		}
		for _, at := range []int{11, 12} { // utime and stime
			n, err := strconv.ParseInt(f[at], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

// Pss is the processes' memory in bytes, shared pages counted once in all.
func Pss(ps []Process) (int64, error) {
	var sum int64
	for _, p := range ps {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
		if err != nil {
			return 0, fmt.Errorf("reading the memory of %s: %w", p, err)
		}
		found := false
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
				kib, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					return 0, err
				}
				sum, found = sum+kib*1024, true
			}
		}
		if !found {
			return 0, fmt.Errorf("reading the memory of %s: no Pss line", p)
		}
	}
	return sum, nil
}
