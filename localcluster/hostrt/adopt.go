package hostrt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/procs"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// Reasons that the runtime gives for the end of a container that ended with its pod.
const (
	reasonShimKilled    = "ShimKilled"
	reasonNodeRestarted = "NodeRestarted"
	killedCode          = 137
)

// adopt reads all sandboxes from disk and takes over those that run.
func (s *Server) adopt() error {
	old, err := os.ReadDir(s.trashDir())
	if err != nil {
		return fmt.Errorf("adopting pods: %w", err)
	}
	for _, e := range old {
		path := filepath.Join(s.trashDir(), e.Name())
		s.work.Go(func() {
			if err := os.RemoveAll(path); err != nil {
				s.log.Warn("removing a folder", "path", path, "error", err)
			}
		})
	}
	dirs, err := os.ReadDir(s.podsDir())
	if err != nil {
		return fmt.Errorf("adopting pods: %w", err)
	}
	for _, e := range dirs {
		p, err := s.load(e.Name())
		if err != nil {
			// Without its record nothing can be done with it, and nobody asks for it.
			s.log.Warn("a pod's folder cannot be read and is removed", "pod", e.Name(), "error", err)
			s.trash(filepath.Join(s.podsDir(), e.Name()))
			continue
		}
		if err := s.takeOver(p); err != nil {
			return fmt.Errorf("adopting pod %s: %w", p.id, err)
		}
	}
	if s.groups == nil {
		return nil
	}
	err = s.groups.Sweep(func(id string) bool {
		p, err := s.pod(id)
		return err == nil && !p.record.Stopped
	})
	if err != nil {
		s.log.Warn("removing the control groups of earlier pods", "error", err)
	}
	return nil
}

func (s *Server) load(id string) (*pod, error) {
	var rec podRecord
	dir := filepath.Join(s.podsDir(), id)
	if err := readRecord(dir, podFile, &rec); err != nil {
		return nil, err
	}
	cfg := &rt.PodSandboxConfig{}
	if err := proto.Unmarshal(rec.Config, cfg); err != nil {
		return nil, err
	}
	p := s.newPod(rec, cfg)
	entries, err := os.ReadDir(filepath.Join(dir, containersDir))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		c, err := loadContainer(p, e.Name())
		if err != nil {
			s.log.Warn("a container's folder cannot be read and is removed", "container", e.Name(), "error", err)
			s.trash(filepath.Join(dir, containersDir, e.Name()))
			continue
		}
		s.mu.Lock()
		s.containers[c.id] = c
		s.mu.Unlock()
	}
	return p, nil
}

func loadContainer(p *pod, id string) (*container, error) {
	var rec containerRecord
	dir := filepath.Join(p.dir, containersDir, id)
	if err := readRecord(dir, containerFile, &rec); err != nil {
		return nil, err
	}
	cfg := &rt.ContainerConfig{}
	if err := proto.Unmarshal(rec.Config, cfg); err != nil {
		return nil, err
	}
	c := newContainer(p, rec, cfg)
	err := readRecord(dir, shimapi.StateName, &c.state)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if c.state.Phase == shimapi.Exited {
		close(c.ended)
	}
	return c, nil
}

// takeOver goes on with a pod of an earlier run.
func (s *Server) takeOver(p *pod) error {
	s.mu.Lock()
	s.pods[p.id] = p
	s.mu.Unlock()
	if p.record.Stopped {
		close(p.lost)
		return nil
	}
	if p.record.HolderID != s.cfg.HolderID {
		// Its namespaces are gone, and its numbers mean other processes now.
		s.markDead(p, reasonNodeRestarted, "the node was restarted while the container ran")
		return nil
	}
	if p.record.IP.IsValid() {
		s.pool.Take(p.record.IP)
	}
	if p.record.ShimPID == 0 {
		// The runtime died while it made this sandbox; the kubelet does not know it.
		ctx, cancel := context.WithTimeout(s.life, 5*time.Second)
		defer cancel()
		if _, err := p.client().Call(ctx, shimapi.Request{Op: shimapi.OpShutdown}); err != nil {
			s.log.Info("a sandbox was never finished", "pod", p.id, "error", err)
		}
		s.mu.Lock()
		delete(s.pods, p.id)
		s.mu.Unlock()
		s.discardPod(p)
		return nil
	}
	s.noteHostPorts(p)
	s.mu.Lock()
	p.ready = true
	s.mu.Unlock()
	synced := s.follow(p)
	select {
	case <-synced:
	case <-p.lost:
	}
	return nil
}

// follow listens to a pod's shim until it is gone. The channel closes when the
// shim has told all that it knows.
func (s *Server) follow(p *pod) (synced chan struct{}) {
	synced = make(chan struct{})
	s.work.Go(func() {
		err := s.listen(p, synced)
		if s.life.Err() != nil {
			return
		}
		s.mu.Lock()
		asked := p.stopping
		s.mu.Unlock()
		if !asked {
			s.log.Warn("a pod's shim is gone", "pod", p.id, "error", err)
		}
		s.shimGone(p)
	})
	return synced
}

func (s *Server) listen(p *pod, synced chan struct{}) error {
	stream, err := p.client().Open(s.life, shimapi.Request{Op: shimapi.OpWatch})
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		res, err := stream.Next()
		if err != nil {
			return err
		}
		switch {
		case res.State == nil:
		case res.State.ID == "":
			close(synced)
		default:
			if c, err := s.container(res.State.ID); err == nil {
				s.apply(c, *res.State)
			}
		}
	}
}

// shimGone ends what a shim has left. Its containers die with it by their
// parent-death signal, but one may have shaken that off.
func (s *Server) shimGone(p *pod) {
	if err := procs.Kill(p.record.ShimPID, p.record.ShimStart); err != nil {
		s.log.Warn("ending a shim", "pod", p.id, "error", err)
	}
	s.mu.Lock()
	var own []*container
	for _, c := range s.containers {
		if c.pod == p {
			own = append(own, c)
		}
	}
	s.mu.Unlock()
	for _, c := range own {
		// What the shim noted last may not have arrived.
		var st shimapi.State
		if err := readRecord(c.dir, shimapi.StateName, &st); err != nil {
			continue
		}
		if st.Phase == shimapi.Running {
			if err := procs.Kill(st.PID, st.PIDStart); err != nil {
				s.log.Warn("ending a container", "container", c.id, "error", err)
			}
		}
		s.apply(c, st)
	}
	s.markDead(p, reasonShimKilled, "the process that held the pod (studio-shim) was killed, and the container with it")
}

// markDead notes that nothing of a pod runs any more.
func (s *Server) markDead(p *pod, reason, message string) {
	s.mu.Lock()
	p.ready = false
	var running []*container
	for _, c := range s.containers {
		if c.pod == p && (c.state.Phase == shimapi.Running || c.starting && c.state.Phase == "") {
			running = append(running, c)
		}
	}
	select {
	case <-p.lost:
	default:
		close(p.lost)
	}
	s.mu.Unlock()
	for _, c := range running {
		s.mu.Lock()
		st := c.state
		s.mu.Unlock()
		st.Phase, st.ExitCode, st.Reason, st.Message, st.FinishedAt = shimapi.Exited, killedCode, reason, message, time.Now().UnixNano()
		if st.StartedAt == 0 {
			st.StartedAt = st.FinishedAt
		}
		if err := shimapi.WriteState(c.dir, st); err != nil {
			s.log.Warn("storing a container's state", "container", c.id, "error", err)
		}
		s.apply(c, st)
	}
}
