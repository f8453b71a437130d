package shim

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/crilog"
	"github.com/mlstudio/studio/localcluster/hostrt/procs"
	"github.com/mlstudio/studio/localcluster/hostrt/sandbox"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
	"github.com/mlstudio/studio/localcluster/hostrt/watchdog"
)

// settled is when a container that still runs will likely run for long.
const settled = time.Second

type container struct {
	shim *Shim
	spec *shimapi.Spec
	sb   *sandbox.Container
	log  *crilog.Log
	out  *fanout
	in   *input
	// tty is the master side of the container's terminal, if it has one.
	tty *os.File
	// state is guarded by the shim's lock.
	state shimapi.State
	// watch holds the limits that no control group does; nil without any.
	watch *watchdog.Watch
	// excess is what the container was ended for; the shim's lock guards it.
	excess *watchdog.Excess
	// mounts holds the container's mount namespace, so that its number cannot
	// come to name another's. It is nil with a PID namespace of its own.
	mounts *os.File
	// done is closed when the end is noted.
	done chan struct{}
}

func (s *Shim) start(spec *shimapi.Spec, shared []*os.File) (shimapi.State, error) {
	if spec == nil || spec.ID == "" {
		return shimapi.State{}, shimapi.Errorf("a start needs a specification")
	}
	c := &container{shim: s, spec: spec, done: make(chan struct{}), state: shimapi.State{ID: spec.ID}}
	s.mu.Lock()
	old, ending := s.containers[spec.ID], s.ending
	if old == nil && !ending {
		s.containers[spec.ID] = c
	}
	s.mu.Unlock()
	switch {
	case ending:
		return shimapi.State{}, shimapi.Errorf("the pod is ending")
	case old != nil:
		return shimapi.State{}, shimapi.Errorf("container %s was started before", spec.ID)
	}
	if err := c.run(shared); err != nil {
		c.fail(err)
		return shimapi.State{}, err
	}
	// The heap is tiny; collecting early keeps a hundred shims small. Not before:
	// neither a start nor the end of a short command must wait for a collection.
	time.AfterFunc(settled, func() { debug.SetGCPercent(20) })
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.state, nil
}

// run starts the command and what follows its streams and its end.
func (c *container) run(shared []*os.File) error {
	pidNS, err := c.shim.pidNamespace(c.spec)
	if err != nil {
		return err
	}
	drop, err := sandbox.AttachShared(c.spec, shared)
	if err != nil {
		return err
	}
	defer drop()
	if c.log, err = crilog.Open(c.spec.LogPath); err != nil {
		return err
	}
	c.out = &fanout{log: c.log}
	st, err := c.openStreams()
	if err != nil {
		return err
	}
	c.sb, err = sandbox.Start(c.spec, pidNS, st.child, c.ready)
	st.closeChild()
	if err != nil {
		c.watch.Stop()
		st.closeParent()
		return err
	}
	var copying sync.WaitGroup
	if c.spec.TTY {
		if c.tty, err = st.terminal(); err != nil {
			return err
		}
		c.in = &input{w: c.tty, keep: true}
		copying.Go(func() { c.out.copy("stdout", c.tty) })
	} else {
		c.in = &input{w: st.stdin, once: c.spec.StdinOnce}
		copying.Go(func() { c.out.copy("stdout", st.stdout) })
		copying.Go(func() { c.out.copy("stderr", st.stderr) })
	}
	pid := c.sb.Init().PID()
	// A process that has ended already is a zombie until it is waited for
	// below, so its start time can be read.
	begun, err := procs.Start(pid)
	if err != nil {
		c.shim.log.Warn("reading the container's start time", "container", c.spec.ID, "error", err)
	}
	if c.spec.PID != shimapi.PIDOwn {
		if c.mounts, err = os.Open(mountNamespace(pid)); err != nil {
			c.shim.log.Warn("holding the container's mount namespace", "container", c.spec.ID, "error", err)
		}
	}
	c.change(func(s *shimapi.State) {
		s.Phase, s.PID, s.PIDStart, s.StartedAt = shimapi.Running, pid, begun, time.Now().UnixNano()
	})
	go func() {
		code, sig := c.sb.Init().Wait()
		c.watch.Stop()
		// Children in a shared PID namespace would go on and hold the streams.
		c.killRest()
		copying.Wait()
		c.end(code, sig)
	}()
	return nil
}

// end notes the end of the container's process.
func (c *container) end(code, sig int) {
	c.out.close()
	c.in.close()
	if c.tty != nil {
		c.tty.Close()
	}
	if err := c.log.Close(); err != nil {
		c.shim.log.Warn("closing the log", "container", c.spec.ID, "error", err)
	}
	reason, message := c.why(code)
	c.change(func(s *shimapi.State) {
		s.Phase, s.ExitCode, s.Signal, s.FinishedAt = shimapi.Exited, code, sig, time.Now().UnixNano()
		s.Reason, s.Message = reason, message
	})
	if err := c.sb.Destroy(); err != nil {
		c.shim.log.Warn("cleaning up after the container", "container", c.spec.ID, "error", err)
	}
	close(c.done)
}

// fail notes that the command could not be started.
func (c *container) fail(err error) {
	if c.log != nil {
		c.log.Close()
	}
	reason, code := "StartError", 128
	if own, ok := err.(*shimapi.Error); ok && own.Code != 0 {
		reason, code = own.Reason, own.Code
	}
	c.change(func(s *shimapi.State) {
		now := time.Now().UnixNano()
		s.Phase, s.StartedAt, s.FinishedAt = shimapi.Exited, now, now
		s.ExitCode, s.Reason, s.Message = code, reason, err.Error()
	})
	close(c.done)
}

// change stores a new state, then tells it.
func (c *container) change(f func(*shimapi.State)) {
	s := c.shim
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&c.state)
	if err := shimapi.WriteState(c.spec.Dir, c.state); err != nil {
		// A full disk must not stop the pod; the engine hears of it all the same.
		s.log.Warn("storing a container's state", "container", c.spec.ID, "error", err)
	}
	s.tell(c.state)
}

func (c *container) signal(sig int) error {
	select {
	case <-c.done:
		return nil
	default:
	}
	c.shim.mu.Lock()
	phase := c.state.Phase
	c.shim.mu.Unlock()
	switch phase {
	case shimapi.Exited: // and done is closed in a moment
		return nil
	case shimapi.Running:
	default:
		return shimapi.Errorf("container %s has not started yet", c.spec.ID)
	}
	if err := c.sb.Init().Signal(sig); err != nil {
		return fmt.Errorf("sending %v: %w", syscall.Signal(sig), err)
	}
	return nil
}

func (c *container) resize(width, height uint16) error {
	if c.tty == nil {
		return shimapi.Errorf("container %s has no terminal", c.spec.ID)
	}
	return unix.IoctlSetWinsize(int(c.tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
}
