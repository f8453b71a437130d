// Package shim is the one process that a pod always has: it starts the pod's
// containers, takes their output into log files, notes how they end and answers
// the engine, which may come and go. It runs in the pod's own network, IPC, UTS
// and mount namespaces, which live as long as it and its containers do.
package shim

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/sandbox"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// Shim serves one pod.
type Shim struct {
	cfg shimapi.Config
	log *slog.Logger

	mu         sync.Mutex
	containers map[string]*container
	watchers   map[chan shimapi.State]bool
	pause      *pause
	ending     bool
}

// Run serves until the engine shuts the shim down.
func Run(cfg shimapi.Config, log *slog.Logger) error {
	if err := setUp(cfg); err != nil {
		return errors.Join(err, os.WriteFile(filepath.Join(cfg.Dir, shimapi.FailedName), []byte(err.Error()), 0o600))
	}
	f := os.NewFile(shimapi.ListenFD, "socket")
	unix.CloseOnExec(shimapi.ListenFD)
	unix.CloseOnExec(shimapi.ProgramFD)
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("taking the shim's socket: %w", err)
	}
	f.Close()
	s := &Shim{cfg: cfg, log: log, containers: map[string]*container{}, watchers: map[chan shimapi.State]bool{}}
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("serving the shim's socket: %w", err)
		}
		go s.serve(conn.(*net.UnixConn))
	}
}

func setUp(cfg shimapi.Config) error {
	shm := filepath.Join(cfg.Dir, shimapi.ShmName)
	if err := os.MkdirAll(shm, 0o700); err != nil {
		return err
	}
	if err := sandbox.PrepareMounts(shm, cfg.Groups); err != nil {
		return err
	}
	if cfg.Tasks > 0 {
		if err := sandbox.LimitTasks(cfg.Tasks, cfg.UserTasks); err != nil {
			return err
		}
	}
	if cfg.Hostname != "" {
		if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
			return fmt.Errorf("setting the pod's host name: %w", err)
		}
	}
	for name, value := range cfg.Sysctls {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("setting sysctl %s: %w", name, err)
		}
	}
	return nil
}

func (s *Shim) serve(conn *net.UnixConn) {
	defer conn.Close()
	var req shimapi.Request
	files, err := shimapi.Receive(conn, &req)
	if err != nil {
		return
	}
	defer shimapi.CloseAll(files)
	if err := s.answer(conn, &req, files); err != nil {
		var own *shimapi.Error
		if !errors.As(err, &own) {
			own = &shimapi.Error{Message: err.Error()}
		}
		if err := shimapi.Send(conn, shimapi.Response{Error: own}); err != nil {
			s.log.Info("the engine left before its answer", "op", req.Op, "container", req.ID, "error", err)
		}
	}
}

func (s *Shim) answer(conn *net.UnixConn, req *shimapi.Request, files []*os.File) error {
	switch req.Op {
	case shimapi.OpWatch:
		return s.watch(conn)
	case shimapi.OpStart:
		state, err := s.start(req.Spec, files)
		if err != nil {
			return err
		}
		return shimapi.Send(conn, shimapi.Response{State: &state})
	case shimapi.OpShutdown:
		s.shutDown()
		if err := shimapi.Send(conn, shimapi.Response{Done: true}); err != nil {
			s.log.Info("the engine left before the shutdown", "error", err)
		}
		os.Exit(0)
	}
	c, err := s.find(req.ID)
	if err != nil {
		return err
	}
	switch req.Op {
	case shimapi.OpSignal:
		err = c.signal(req.Signal)
	case shimapi.OpReopen:
		err = c.log.Reopen()
	case shimapi.OpLimit:
		err = c.limit(req.Limits)
	case shimapi.OpResize:
		err = c.resize(req.Width, req.Height)
	case shimapi.OpExec:
		return c.exec(conn, req, files)
	case shimapi.OpAttach:
		return c.attach(conn, req, files)
	default:
		err = shimapi.Errorf("the pod's shim is older than the engine and does not know %q: delete the pod", req.Op)
	}
	if err != nil {
		return err
	}
	return shimapi.Send(conn, shimapi.Response{Done: true})
}

func (s *Shim) find(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[id]; c != nil {
		return c, nil
	}
	return nil, shimapi.Errorf("container %s is not running", id)
}

// shutDown ends every container and waits until their ends are noted.
func (s *Shim) shutDown() {
	s.mu.Lock()
	s.ending = true
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		if err := c.signal(int(unix.SIGKILL)); err != nil {
			s.log.Warn("killing a container", "container", c.spec.ID, "error", err)
		}
	}
	for _, c := range all {
		<-c.done
	}
	s.pause.stop()
}

// watch streams states until the engine leaves.
func (s *Shim) watch(conn *net.UnixConn) error {
	// The engine reads at once, and a pod has few containers: the buffer holds
	// their whole life.
	ch := make(chan shimapi.State, 256)
	s.mu.Lock()
	now := make([]shimapi.State, 0, len(s.containers))
	for _, c := range s.containers {
		now = append(now, c.state)
	}
	s.watchers[ch] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, ch)
		s.mu.Unlock()
	}()
	for _, st := range append(now, shimapi.State{}) {
		if err := shimapi.Send(conn, shimapi.Response{State: &st}); err != nil {
			return nil
		}
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var none shimapi.Request
		_, _ = shimapi.Receive(conn, &none)
	}()
	for {
		select {
		case <-gone:
			return nil
		case st := <-ch:
			if err := shimapi.Send(conn, shimapi.Response{State: &st}); err != nil {
				return nil
			}
		}
	}
}

// tell passes a state to all watchers; the caller holds the lock. A watcher
// that does not keep up is cut off and reads everything anew when it returns.
func (s *Shim) tell(st shimapi.State) {
	for ch := range s.watchers {
		select {
		case ch <- st:
		default:
			delete(s.watchers, ch)
			s.log.Warn("the engine does not keep up with events")
		}
	}
}
