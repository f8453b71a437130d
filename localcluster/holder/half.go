package holder

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/holder/client"
	"github.com/mlstudio/studio/localcluster/notify"
)

const (
	// A crashed node half is started again after a pause that doubles, so that
	// one that cannot start does not take the machine.
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	// A node half that lived this long crashed for a new reason.
	settled = time.Minute
	// stopGrace is what the node half has to end after SIGTERM.
	stopGrace = 10 * time.Second
)

// half starts the node half and keeps it running while it is wanted.
type half struct {
	h   *holder
	ctx context.Context

	mu     sync.Mutex
	cancel context.CancelFunc // not nil while it is wanted
	ended  chan struct{}      // closed when the wanted one has stopped
	state  client.Node
	pid    int // of the running one
}

func newHalf(ctx context.Context, h *holder) *half {
	return &half{h: h, ctx: ctx, state: client.Node{State: "stopped"}}
}

func (n *half) status() client.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.state
	s.Phases = n.h.events.last()
	return s
}

func (n *half) set(f func(*client.Node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.state)
}

// start makes the node half wanted.
func (n *half) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(n.ctx)
	n.cancel, n.ended = cancel, make(chan struct{})
	n.state.Restarts = 0
	go func(ended chan struct{}) {
		defer close(ended)
		n.keep(ctx)
	}(n.ended)
}

// stop ends the node half and waits for its end.
func (n *half) stop() {
	n.mu.Lock()
	cancel, ended := n.cancel, n.ended
	n.cancel = nil
	n.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	<-ended
}

// keep runs the node half until ctx ends.
func (n *half) keep(ctx context.Context) {
	defer n.set(func(s *client.Node) { s.State, s.Since = "stopped", time.Now() })
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		began := time.Now()
		message := n.once(ctx, nil)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > settled {
			pause = firstPause
		}
		n.h.config.Log.Error("the node half ended", "how", message, "next start in", pause)
		n.set(func(s *client.Node) {
			s.State, s.Since, s.Message = "waiting", time.Now(), message
			s.Restarts++
		})
		n.h.events.send(localcluster.Event{Time: time.Now(), Phase: "node", State: localcluster.Failed, Message: "the node half ended: " + message})
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// once runs one node half to its end and says how it ended.
func (n *half) once(ctx context.Context, env []string) string {
	n.h.events.clear()
	pid, end, err := n.fork(env)
	if err != nil {
		return err.Error()
	}
	n.set(func(s *client.Node) { s.State, s.Since, n.pid = "running", time.Now(), pid })
	defer n.set(func(*client.Node) { n.pid = 0 })
	var status unix.WaitStatus
	select {
	case status = <-end:
	case <-ctx.Done():
		unix.Kill(pid, unix.SIGTERM)
		select {
		case status = <-end:
		case <-time.After(stopGrace):
			unix.Kill(pid, unix.SIGKILL)
			status = <-end
		}
	}
	return describe(status)
}

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + unix.SignalName(s.Signal())
	}
	return "exit code " + strconv.Itoa(s.ExitStatus())
}

// fork starts the node half from the node's thread, and with it in the node's
// namespaces and root.
func (n *half) fork(extra []string) (int, <-chan unix.WaitStatus, error) {
	if err := refreshPrograms(n.h.thread, n.h.programs); err != nil {
		return 0, nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer outWrite.Close()
	toldRead, toldWrite, err := os.Pipe()
	if err != nil {
		outRead.Close()
		return 0, nil, err
	}
	defer toldWrite.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		outRead.Close()
		toldRead.Close()
		return 0, nil, err
	}
	defer null.Close()
	c := n.h.config
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(n.environ(), extra...),
		Files: []uintptr{null.Fd(), outWrite.Fd(), outWrite.Fd(), toldWrite.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	var pid int
	var end <-chan unix.WaitStatus
	err = n.h.thread.do(func() (err error) {
		pid, end, err = n.h.reaper.start(func() (int, error) { return syscall.ForkExec(c.Node[0], c.Node, attr) })
		return err
	})
	if err != nil {
		outRead.Close()
		toldRead.Close()
		return 0, nil, fmt.Errorf("starting %s in the node: %w", strings.Join(c.Node, " "), err)
	}
	go n.copyLog(outRead)
	go func() {
		defer toldRead.Close()
		// A line that is no event ends the reading: then it tells nothing more.
		if err := notify.Read(toldRead, n.h.events.send); err != nil {
			c.Log.Error("reading the node half's progress", "error", err)
		}
	}()
	return pid, end, nil
}

// copyLog ends when the node half and all that inherited its output are gone.
func (n *half) copyLog(from *os.File) {
	defer from.Close()
	for s := bufio.NewReaderSize(from, 64<<10); ; {
		line, err := s.ReadSlice('\n')
		n.h.config.NodeLog.Write(line)
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (n *half) environ() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "TMPDIR=/tmp",
		datadir.Env + "=" + n.h.config.Dir.String(),
		EnvID + "=" + n.h.id,
		notify.EnvFD + "=3",
	}
	for _, name := range []string{"TZ", "GOMEMLIMIT", "GOGC", "GODEBUG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// othersRun tells whether the namespace has processes beside the holder, the
// pods' first one and the node half: those of pods.
func (n *half) othersRun() bool {
	n.mu.Lock()
	own := n.pid
	n.mu.Unlock()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return true
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		pid, err := strconv.Atoi(e.Name())
		return err == nil && pid != 1 && pid != own && pid != n.h.init.PID
	})
}
