package namespaces

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initReadyFD and initGoFD are the descriptors between StartInit and the process.
const (
	initReadyFD = 3
	initGoFD    = 4
)

// Init is the first process of a PID namespace that does nothing but hold it.
type Init struct {
	// PID as the caller's namespace has it.
	PID int
	// NS is an open descriptor of the namespace.
	NS int

	goOn *os.File
}

// StartInit makes a PID namespace below the caller's, in the namespaces of the
// calling thread otherwise, with its proc file system mounted on the folder.
// What is mounted there before is hidden. The caller waits for the process.
// fork is syscall.ForkExec, or what keeps count of it.
func StartInit(proc string, fork func(string, []string, *syscall.ProcAttr) (int, error)) (*Init, error) {
	init, err := startInit(proc, fork)
	if err != nil {
		return nil, fmt.Errorf("making a PID namespace: %w", err)
	}
	return init, nil
}

func startInit(proc string, fork func(string, []string, *syscall.ProcAttr) (int, error)) (*Init, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	wait, goOn, err := os.Pipe()
	if err != nil {
		tell.Close()
		return nil, err
	}
	pid, err := fork(exe, []string{exe}, &syscall.ProcAttr{
		Env:   []string{"PATH=/usr/bin:/bin:/run/current-system/sw/bin", actionEnv + "=init", targetEnv + "=" + proc},
		Files: []uintptr{0, 2, 2, tell.Fd(), wait.Fd()},
		Sys:   &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Setsid: true},
	})
	tell.Close()
	wait.Close()
	if err != nil {
		goOn.Close()
		return nil, explain(err)
	}
	text, err := io.ReadAll(ready)
	if err == nil && string(text) != "ready" {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	if err != nil {
		goOn.Close()
		return nil, err
	}
	ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/pid", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		goOn.Close()
		return nil, err
	}
	return &Init{PID: pid, NS: ns, goOn: goOn}, nil
}

// Settle lets the process take its final, small form, in the root that it has now.
func (i *Init) Settle() { i.goOn.Close() }

// runInit is the process: it mounts the proc, waits for Settle and becomes a
// sleeping program that ignores its children, which makes the kernel take away
// the orphans when they end.
func runInit(proc string) error {
	ready := os.NewFile(initReadyFD, "ready")
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		fmt.Fprint(ready, Explain("mounting a proc file system", err))
		return err
	}
	fmt.Fprint(ready, "ready")
	ready.Close()
	goOn := os.NewFile(initGoFD, "go on")
	io.Copy(io.Discard, goOn)
	goOn.Close()
	signal.Ignore(unix.SIGCHLD)
	if sleep, err := exec.LookPath("sleep"); err == nil {
		unix.Exec(sleep, []string{"sleep", "infinity"}, nil)
	}
	select {} // Without that program this one stays; it only is larger.
}
