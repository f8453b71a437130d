package hostrt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

func (s *Server) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[id]; c != nil {
		return c, nil
	}
	return nil, status.Errorf(codes.NotFound, "container %s does not exist", id)
}

// CreateContainer implements the CRI. It only notes the container, and refuses
// what could not start; its root is made when it starts.
func (s *Server) CreateContainer(ctx context.Context, r *rt.CreateContainerRequest) (*rt.CreateContainerResponse, error) {
	p, err := s.pod(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	cfg := r.GetConfig()
	image := cfg.GetImage().GetUserSpecifiedImage()
	if image == "" {
		image = cfg.GetImage().GetImage()
	}
	raw, err := encode(cfg)
	if err != nil {
		return nil, err
	}
	rec := containerRecord{ID: newID(), Config: raw, CreatedAt: time.Now().UnixNano()}
	if err := s.useImages(ctx, &rec, cfg); err != nil {
		return nil, fmt.Errorf("container %s: %w", cfg.GetMetadata().GetName(), err)
	}
	c := newContainer(p, rec, cfg)
	if err := s.note(c, rec, image); err != nil {
		s.releaseImages(c)
		return nil, err
	}
	s.sayImage(c, image)
	s.warnAboutContainer(c)
	s.mu.Lock()
	s.containers[c.id] = c
	s.mu.Unlock()
	if err := s.limitPod(p); err != nil {
		s.mu.Lock()
		delete(s.containers, c.id)
		s.mu.Unlock()
		s.trash(c.dir)
		return nil, err
	}
	s.events.send(c, rt.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &rt.CreateContainerResponse{ContainerId: c.id}, nil
}

// note checks a new container and stores it.
func (s *Server) note(c *container, rec containerRecord, image string) error {
	if len(c.args()) == 0 {
		return noCommand(c, image)
	}
	var err error
	if c.user, err = s.resolveUser(c); err != nil {
		return err
	}
	rec.User = c.user
	// What cannot be honoured is refused now: the message then names the field.
	if _, err := s.newSpec(c); err != nil {
		return err
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return err
	}
	return writeRecord(c.dir, containerFile, rec)
}

// StartContainer implements the CRI. A command that cannot be run leaves a
// container that has failed with a reason, and is an error too.
func (s *Server) StartContainer(ctx context.Context, r *rt.StartContainerRequest) (*rt.StartContainerResponse, error) {
	c, err := s.container(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	fresh := c.state.Phase == "" && !c.starting && !c.removing
	if fresh {
		c.starting = true
	}
	s.mu.Unlock()
	if !fresh {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s was started before", c.id)
	}
	state, err := s.launch(ctx, c)
	if err != nil {
		s.apply(c, failedState(c, err))
		return nil, err
	}
	s.apply(c, state)
	return &rt.StartContainerResponse{}, nil
}

func (s *Server) launch(ctx context.Context, c *container) (shimapi.State, error) {
	spec, err := s.newSpec(c)
	if err != nil {
		return shimapi.State{}, err
	}
	if err := s.prepareRoot(c, spec); err != nil {
		return shimapi.State{}, err
	}
	shared, err := openShared(spec.Mounts)
	if err != nil {
		return shimapi.State{}, err
	}
	defer shimapi.CloseAll(shared)
	res, err := c.client().Call(ctx, shimapi.Request{Op: shimapi.OpStart, ID: c.id, Spec: spec}, shared...)
	if err != nil {
		return shimapi.State{}, err
	}
	if res.State == nil {
		return shimapi.State{}, errors.New("the pod's shim gave no state")
	}
	return *res.State, nil
}

// failedState is the end of a container that could not be started. Where the
// shim knows more, its own word has come first.
func failedState(c *container, err error) shimapi.State {
	now := time.Now().UnixNano()
	st := shimapi.State{ID: c.id, Phase: shimapi.Exited, StartedAt: now, FinishedAt: now, ExitCode: 128, Reason: "StartError", Message: err.Error()}
	var own *shimapi.Error
	if errors.As(err, &own) && own.Code != 0 {
		st.ExitCode, st.Reason = own.Code, own.Reason
	}
	return st
}

// apply takes over a state, from whichever side it comes first, and tells the
// kubelet when the container began or ended by it.
func (s *Server) apply(c *container, st shimapi.State) {
	s.mu.Lock()
	before := c.state.Phase
	if before == shimapi.Exited || before == st.Phase {
		s.mu.Unlock()
		return
	}
	c.state = st
	if st.Phase == shimapi.Exited {
		close(c.ended)
	}
	s.mu.Unlock()
	if _, err := os.Stat(filepath.Join(c.dir, shimapi.StateName)); err != nil {
		if err := shimapi.WriteState(c.dir, st); err != nil {
			s.log.Warn("storing a container's state", "container", c.id, "error", err)
		}
	}
	if st.Phase == shimapi.Running {
		s.events.send(c, rt.ContainerEventType_CONTAINER_STARTED_EVENT)
		return
	}
	s.events.stopped(c)
}

// StopContainer implements the CRI: the stop signal, the grace, then SIGKILL.
func (s *Server) StopContainer(ctx context.Context, r *rt.StopContainerRequest) (*rt.StopContainerResponse, error) {
	c, err := s.container(r.GetContainerId())
	if status.Code(err) == codes.NotFound {
		return &rt.StopContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.stopContainer(ctx, c, time.Duration(r.GetTimeout())*time.Second); err != nil {
		return nil, fmt.Errorf("stopping container %s: %w", c.id, err)
	}
	return &rt.StopContainerResponse{}, nil
}

func (s *Server) stopContainer(ctx context.Context, c *container, grace time.Duration) error {
	s.mu.Lock()
	phase, starting := c.state.Phase, c.starting
	s.mu.Unlock()
	if phase == shimapi.Exited || phase == "" && !starting {
		return nil
	}
	if grace > 0 {
		if err := s.signal(ctx, c, stopSignal(c)); err != nil {
			return err
		}
		select {
		case <-c.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(grace): // the grace itself
		}
	}
	if err := s.signal(ctx, c, unix.SIGKILL); err != nil {
		return err
	}
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal sends a signal; a container that has ended meanwhile is no error.
func (s *Server) signal(ctx context.Context, c *container, sig unix.Signal) error {
	_, err := c.client().Call(ctx, shimapi.Request{Op: shimapi.OpSignal, ID: c.id, Signal: int(sig)})
	select {
	case <-c.ended:
		return nil
	case <-c.pod.lost:
		return nil
	default:
		return err
	}
}

// The range of real-time signals that the C library leaves to programs.
const (
	sigRTMin = 34
	sigRTMax = 64
)

func stopSignal(c *container) unix.Signal {
	if c.cfg.GetStopSignal() == rt.Signal_SIGNAL_RUNTIME_DEFAULT && c.image != nil {
		return imageStopSignal(c.image.Config.StopSignal)
	}
	return namedSignal(strings.TrimPrefix(c.cfg.GetStopSignal().String(), "SIGNAL_"))
}

// namedSignal knows the signals by the CRI's names; an unknown one is SIGTERM.
func namedSignal(name string) unix.Signal {
	if sig := unix.SignalNum(name); sig != 0 {
		return sig
	}
	// Real-time signals have no name of their own in the kernel.
	for prefix, base := range map[string]int{"SIGRTMINPLUS": sigRTMin, "SIGRTMAXMINUS": -sigRTMax} {
		if n, err := strconv.Atoi(strings.TrimPrefix(name, prefix)); err == nil {
			return unix.Signal(max(base+n, -(base + n)))
		}
	}
	switch name {
	case "SIGRTMIN":
		return sigRTMin
	case "SIGRTMAX":
		return sigRTMax
	}
	return unix.SIGTERM
}

// RemoveContainer implements the CRI.
func (s *Server) RemoveContainer(ctx context.Context, r *rt.RemoveContainerRequest) (*rt.RemoveContainerResponse, error) {
	c, err := s.container(r.GetContainerId())
	if status.Code(err) == codes.NotFound {
		return &rt.RemoveContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &rt.RemoveContainerResponse{}, s.removeContainer(ctx, c)
}

func (s *Server) removeContainer(ctx context.Context, c *container) error {
	if err := s.stopContainer(ctx, c, 0); err != nil {
		return fmt.Errorf("removing container %s: %w", c.id, err)
	}
	s.mu.Lock()
	again := c.removing
	c.removing = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.keepFiles(c)
	s.trash(c.dir)
	s.releaseImages(c)
	s.mu.Lock()
	delete(s.containers, c.id)
	s.mu.Unlock()
	s.samples.Forget(c.id)
	s.layers.forget(c.id)
	s.events.send(c, rt.ContainerEventType_CONTAINER_DELETED_EVENT)
	return nil
}

// ReopenContainerLog implements the CRI.
func (s *Server) ReopenContainerLog(ctx context.Context, r *rt.ReopenContainerLogRequest) (*rt.ReopenContainerLogResponse, error) {
	c, err := s.container(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	_, err = c.client().Call(ctx, shimapi.Request{Op: shimapi.OpReopen, ID: c.id})
	return &rt.ReopenContainerLogResponse{}, err
}
