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
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// PauseArg is the argument with which the shim runs itself as the first
// process of a PID namespace that a pod's containers share.
const PauseArg = "pause"

type pause struct{ cmd *exec.Cmd }

// Pause reaps the processes that lost their parent, until it is killed.
func Pause() {
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
			if err := cmd.Start(); err != nil {
				return "", fmt.Errorf("making the pod's PID namespace: %w", err)
			}
			s.pause = &pause{cmd}
		}
		return fmt.Sprintf("/proc/%d/ns/pid", s.pause.cmd.Process.Pid), nil
	}
	return "", nil
}

// killSession kills the descendants of a container's process that shares its
// PID namespace with others: a container is a session of its own.
func killSession(leader int) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return
	}
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == leader {
			continue
		}
		sid, err := unix.Getsid(pid)
		if err != nil || sid != leader {
			continue
		}
		if start, err := procs.Start(pid); err == nil {
			_ = procs.Kill(pid, start)
		}
	}
}
