package shim

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/procs"
	"github.com/mlstudio/studio/localcluster/hostrt/sandbox"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// PauseArg is the argument with which the shim runs itself as the first
// process of a PID namespace that a pod's containers share.
const PauseArg = "pause"

type pause struct{ cmd *exec.Cmd }

// Pause reaps the processes that lost their parent, until it is killed.
func Pause() {
	sandbox.BoundNamespace()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	for range ended {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
	}
}

func (p *pause) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// pidNamespace returns the path of the PID namespace to join, "" for none.
func (s *Shim) pidNamespace(spec *shimapi.Spec) (string, error) {
	switch spec.PID {
	case shimapi.PIDTarget:
		c, err := s.find(spec.PIDOf)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("/proc/%d/ns/pid", c.sb.Init().PID()), nil
	case shimapi.PIDPod:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.pause == nil {
			cmd := exec.Command("/proc/self/exe", PauseArg)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
			if err := sandbox.OnParent(cmd.Start); err != nil {
				return "", fmt.Errorf("making the pod's PID namespace: %w", err)
			}
			s.pause = &pause{cmd}
		}
		return fmt.Sprintf("/proc/%d/ns/pid", s.pause.cmd.Process.Pid), nil
	}
	return "", nil
}

func mountNamespace(pid int) string { return fmt.Sprintf("/proc/%d/ns/mnt", pid) }

// killRest kills what is left of a container that shares its PID namespace
// with others, once its first process has ended: its processes are those in its
// mount namespace. In a PID namespace of its own the kernel does so.
func (c *container) killRest() {
	if c.mounts == nil {
		return
	}
	defer c.mounts.Close()
	own, err := c.mounts.Stat()
	if err != nil {
		return
	}
	// A process that forks while it is looked for is found the next time.
	for found := true; found; {
		found = false
		all, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return
		}
		for _, dir := range all {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil || pid == os.Getpid() {
				continue
			}
			start, err := procs.Start(pid)
			if err != nil || !procs.Alive(pid, start) {
				continue
			}
			if ns, err := os.Stat(mountNamespace(pid)); err != nil || !os.SameFile(ns, own) {
				continue
			}
			if err := procs.Kill(pid, start); err != nil {
				c.shim.log.Warn("ending a container's process", "container", c.spec.ID, "error", err)
				return
			}
			found = true
		}
	}
}
