package shim

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/limits"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
	"github.com/mlstudio/studio/localcluster/hostrt/watchdog"
	"github.com/mlstudio/studio/localcluster/pidfd"
)

// Reasons of a container that was ended for what it used.
const (
	reasonMemory = "OOMKilled"
	reasonTasks  = "TooManyProcesses"
)

// ready sets what holds the container's limits where no control group does,
// before its command runs.
func (c *container) ready(pid int) {
	l := c.spec.Limits
	if l.Group != "" {
		return
	}
	if l.Nice > 0 {
		go stepBack(pid, l.Nice)
	}
	if l.Memory == 0 && l.Tasks == 0 {
		return
	}
	if err := c.startWatch(pid, l); err != nil {
		c.shim.log.Error("the container's limits are not held", "container", c.spec.ID, "error", err)
	}
}

func (c *container) startWatch(pid int, l shimapi.Limits) error {
	// The container's own view holds its processes and no others.
	proc, err := os.Open(fmt.Sprintf("/proc/%d/root/proc", pid))
	if err != nil {
		return err
	}
	var mounts *os.File
	if c.spec.PID != shimapi.PIDOwn {
		if mounts, err = os.Open(mountNamespace(pid)); err != nil {
			return errors.Join(err, proc.Close())
		}
	}
	// A descriptor, as the process may end while it is looked at.
	first, err := pidfd.Open(pid)
	if err != nil {
		return errors.Join(err, proc.Close())
	}
	c.watch = watchdog.Start(proc, mounts, watched(l), func(e watchdog.Excess) {
		c.shim.mu.Lock()
		c.excess = &e
		c.shim.mu.Unlock()
		err := unix.PidfdSendSignal(int(first.Fd()), unix.SIGKILL, nil, 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			c.shim.log.Error("ending a container that uses too much", "container", c.spec.ID, "error", err)
		}
	})
	go func() {
		<-c.done
		first.Close()
	}()
	return nil
}

func watched(l shimapi.Limits) watchdog.Limits {
	return watchdog.Limits{Memory: l.Memory, Tasks: l.Tasks}
}

// stepBack lowers the weight of the container's session, by which a desktop's
// kernel shares the processors first. A plain user may do so once in a tenth of
// a second, and only where the kernel makes such groups.
func stepBack(pid, nice int) {
	for range 50 {
		err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(nice)), 0)
		if !errors.Is(err, unix.EAGAIN) {
			return
		}
		// The kernel's own limit; there is nothing to wait on.
		time.Sleep(110 * time.Millisecond)
	}
}

// limit changes the limits of a running container.
func (c *container) limit(l *shimapi.Limits) error {
	if l == nil {
		return shimapi.Errorf("a change of limits needs limits")
	}
	c.shim.mu.Lock()
	running := c.state.Phase == shimapi.Running
	c.shim.mu.Unlock()
	if !running {
		return shimapi.Errorf("container %s is not running", c.spec.ID)
	}
	if c.spec.Limits.Group != "" {
		return c.sb.Limit(*l)
	}
	if c.watch == nil {
		return shimapi.Errorf("container %s was started without a limit and cannot get one while it runs", c.spec.ID)
	}
	c.watch.Set(watched(*l))
	return nil
}

// why says how a container ended. It reads the control group, so it must be
// called before that is removed.
func (c *container) why(code int) (reason, message string) {
	if code == 0 {
		return "Completed", ""
	}
	c.shim.mu.Lock()
	excess := c.excess
	c.shim.mu.Unlock()
	switch {
	case excess != nil && excess.Memory:
		return reasonMemory, excess.String()
	case excess != nil:
		return reasonTasks, excess.String()
	case c.spec.Limits.Group != "":
		n, err := limits.OOMKills(c.spec.Limits.Group)
		if err != nil {
			c.shim.log.Warn("reading why the container ended", "container", c.spec.ID, "error", err)
		}
		if n > 0 {
			return reasonMemory, ""
		}
	}
	return "Error", ""
}
