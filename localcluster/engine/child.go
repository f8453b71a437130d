package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/notify"
)

const (
	// stopGrace is how long a child may take to end before it is killed.
	stopGrace = 15 * time.Second
	// The pause before a restart grows from firstDelay to maxDelay, and is short
	// again for a child that ran for as long as healthy.
	firstDelay = 100 * time.Millisecond
	maxDelay   = 10 * time.Second
	healthy    = time.Minute
)

// launcher starts processes from one thread that never ends: the kernel kills
// them when the thread that started them is gone, which then means the engine.
type launcher struct{ work chan func() }

func newLauncher() *launcher {
	l := &launcher{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range l.work {
			f()
		}
	}()
	return l
}

func (l *launcher) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	l.work <- func() { done <- cmd.Start() }
	return <-done
}

// child is a process that the engine keeps running.
type child struct {
	name   string
	path   string
	args   []string
	env    []string
	stderr string // log file for what it prints outside its own log
	// ready is the phase whose end makes the child one to restart; an earlier
	// exit fails the start of the engine.
	ready string

	launcher *launcher
	hub      *hub
	log      *slog.Logger
}

// run starts the child again whenever it ends, until ctx ends. It returns an
// error when the child never became ready.
func (c *child) run(ctx context.Context) error {
	restarts := 0
	delay := firstDelay
	everReady := false
	for {
		started := time.Now()
		ready, err := c.once(ctx, restarts)
		if ctx.Err() != nil {
			c.hub.process(localcluster.Process{Name: c.name, State: "stopped", Since: time.Now()})
			return nil
		}
		everReady = everReady || ready
		if !everReady {
			return err
		}
		restarts++
		c.log.Error("a part of the engine ended; starting it again", "part", c.name, "error", err, "in", delay)
		c.hub.process(localcluster.Process{Name: c.name, State: "waiting", Since: time.Now(), Restarts: restarts, Message: err.Error()})
		c.hub.event(localcluster.Event{Phase: c.ready, State: localcluster.Failed, Message: fmt.Sprintf("%s ended and is started again: %v", c.name, err)})
		// A pause between restarts is what keeps a broken part from taking the machine.
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		if delay = min(2*delay, maxDelay); time.Since(started) > healthy {
			delay = firstDelay
		}
	}
}

// once runs the child to its end.
func (c *child) once(ctx context.Context, restarts int) (ready bool, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("starting %s: %w", c.name, err)
	}
	defer r.Close()
	file, err := os.OpenFile(c.stderr, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		w.Close()
		return false, fmt.Errorf("starting %s: %w", c.name, err)
	}
	defer file.Close()
	tail := &tail{}
	cmd := exec.Command(c.path, c.args...)
	cmd.Env = append(append(os.Environ(), notify.EnvFD+"=3"), c.env...)
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdout, cmd.Stderr = file, io.MultiWriter(file, tail)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = c.launcher.start(cmd)
	w.Close()
	if err != nil {
		return false, fmt.Errorf("starting %s: %w", c.name, err)
	}
	c.hub.process(localcluster.Process{Name: c.name, PID: cmd.Process.Pid, State: "running", Since: time.Now(), Restarts: restarts})
	events := make(chan struct{})
	go func() {
		defer close(events)
		notify.Read(r, func(e localcluster.Event) {
			ready = ready || e.Phase == c.ready && e.State == localcluster.Done
			c.hub.event(e)
		})
	}()
	stop := context.AfterFunc(ctx, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(stopGrace, func() { cmd.Process.Kill() })
	})
	err = cmd.Wait()
	stop()
	<-events
	return ready, c.explain(err, tail.String())
}

// explain says why a child ended: its own last words, where it had some.
func (c *child) explain(err error, words string) error {
	if err == nil {
		err = errors.New("ended by itself")
	}
	lines := strings.Split(strings.TrimSpace(words), "\n")
	last := lines[len(lines)-1]
	if strings.Contains(words, "\ngoroutine ") {
		last = lines[0] // Go's own report of a crash begins with what happened.
	}
	if last != "" {
		if _, text, ok := strings.Cut(last, ": "); ok && strings.HasPrefix(last, "stud") {
			last = text
		}
		return errors.New(last)
	}
	return fmt.Errorf("%s: %w (see %s)", c.name, err, c.stderr)
}

// tail keeps the first and the last part of what is written to it.
type tail struct {
	mu        sync.Mutex
	head, buf []byte
}

// headSize holds the first lines of a crash, up to its first goroutine.
const headSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := headSize - len(t.head); room > 0 {
		n := min(room, len(p))
		t.head = append(t.head, p[:n]...)
		t.buf = append(t.buf, p[n:]...)
		return len(p), nil
	}
	t.buf = append(t.buf, p...)
	if len(t.buf) > 8192 {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-4096:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.head) + string(t.buf)
}
