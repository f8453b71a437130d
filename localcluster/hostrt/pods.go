package hostrt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/procs"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

func hostNetwork(cfg *rt.PodSandboxConfig) bool {
	return cfg.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == rt.NamespaceMode_NODE
}

// RunPodSandbox implements the CRI: a shim in fresh namespaces, with an address.
func (s *Server) RunPodSandbox(_ context.Context, r *rt.RunPodSandboxRequest) (*rt.RunPodSandboxResponse, error) {
	cfg := r.GetConfig()
	if cfg.GetMetadata().GetUid() == "" {
		return nil, status.Error(codes.InvalidArgument, "the sandbox has no metadata")
	}
	if h := r.GetRuntimeHandler(); !slices.Contains(handlers, h) {
		return nil, status.Errorf(codes.InvalidArgument, "the pod's RuntimeClass wants the handler %q, and this node has only %q: use that, or no RuntimeClass", h, handlers[1])
	}
	raw, err := encode(cfg)
	if err != nil {
		return nil, err
	}
	rec := podRecord{ID: newID(), HolderID: s.cfg.HolderID, Config: raw, CreatedAt: time.Now().UnixNano()}
	if !hostNetwork(cfg) {
		if rec.IP, err = s.pool.Next(); err != nil {
			return nil, err
		}
	}
	p := s.newPod(rec, cfg)
	if err := s.startPod(p); err != nil {
		err = p.lastWords(err)
		s.discardPod(p)
		return nil, fmt.Errorf("starting the pod's sandbox: %w", err)
	}
	s.mu.Lock()
	p.ready = true
	s.pods[p.id] = p
	s.mu.Unlock()
	synced := s.follow(p)
	if len(cfg.GetLinux().GetSysctls()) > 0 {
		// Only these can be wrong; no other pod waits for its shim.
		if err := s.settled(p, synced); err != nil {
			return nil, fmt.Errorf("starting the pod's sandbox: %w", err)
		}
	}
	return &rt.RunPodSandboxResponse{PodSandboxId: p.id}, nil
}

// settled waits until a pod's shim serves, or removes the pod with the shim's
// last words.
func (s *Server) settled(p *pod, synced chan struct{}) error {
	select {
	case <-synced:
		return nil
	case <-p.lost:
	}
	err := p.lastWords(errors.New("the pod's shim ended early"))
	s.mu.Lock()
	delete(s.pods, p.id)
	s.mu.Unlock()
	s.discardPod(p)
	return err
}

// lastWords is what the pod's shim said before it gave up, or err.
func (p *pod) lastWords(err error) error {
	words, readErr := os.ReadFile(filepath.Join(p.dir, shimapi.FailedName))
	if readErr != nil {
		return err
	}
	return errors.New(string(words))
}

func (s *Server) startPod(p *pod) error {
	if err := os.MkdirAll(filepath.Join(p.dir, containersDir), 0o700); err != nil {
		return err
	}
	if err := s.writePodFiles(p); err != nil {
		return err
	}
	// First without the shim: what dies between here and the second writing
	// leaves a folder from which the next start finds the shim's socket.
	if err := writeRecord(p.dir, podFile, p.record); err != nil {
		return err
	}
	if err := s.makeGroup(p); err != nil {
		return err
	}
	if dir := p.cfg.GetLogDirectory(); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	cmd, err := s.startShim(p)
	if err != nil {
		return err
	}
	p.record.ShimPID = cmd.Process.Pid
	// A shim that has ended already is a zombie here, so this cannot miss.
	if p.record.ShimStart, err = procs.Start(cmd.Process.Pid); err != nil {
		return err
	}
	// It outlives this process, so nothing waits for this goroutine.
	go func() { _ = cmd.Wait() }()
	if p.record.IP.IsValid() {
		if err := s.net.Attach(p.id, cmd.Process.Pid, p.record.IP); err != nil {
			return err
		}
		if err := s.openHostPorts(p); err != nil {
			return err
		}
	}
	return writeRecord(p.dir, podFile, p.record)
}

func (s *Server) startShim(p *pod) (*exec.Cmd, error) {
	own := shimapi.Config{Dir: p.dir, Hostname: p.cfg.GetHostname(), Sysctls: p.cfg.GetLinux().GetSysctls()}
	if s.groups != nil {
		own.Groups = s.groups.Dir()
	} else {
		own.Tasks, own.UserTasks = s.cfg.Share.PodTasks, s.userTasks
	}
	arg, err := json.Marshal(own)
	if err != nil {
		return nil, err
	}
	socket, err := shimapi.Listen(p.dir)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	log, err := os.OpenFile(filepath.Join(p.dir, shimapi.LogName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWUTS)
	opts := p.cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if opts.GetNetwork() != rt.NamespaceMode_NODE {
		flags |= unix.CLONE_NEWNET
	}
	if opts.GetIpc() != rt.NamespaceMode_NODE {
		flags |= unix.CLONE_NEWIPC
	}
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", shimapi.ProgramFD), string(arg))
	cmd.Args[0] = s.cfg.ShimPath
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + defaultPath}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{socket, s.shim}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting studio-shim: %w", err)
	}
	return cmd, nil
}

// discardPod removes what a failed start left.
func (s *Server) discardPod(p *pod) {
	if err := procs.Kill(p.record.ShimPID, p.record.ShimStart); err != nil {
		s.log.Warn("ending a shim", "pod", p.id, "error", err)
	}
	s.removeGroup(p)
	s.releaseNetwork(p)
	s.trash(p.dir)
}

func (s *Server) releaseNetwork(p *pod) {
	if !p.record.IP.IsValid() {
		return
	}
	s.closeHostPorts(p)
	if err := s.net.Detach(p.id); err != nil {
		s.log.Warn("removing a pod's link", "pod", p.id, "error", err)
	}
	s.pool.Release(p.record.IP)
}

// trash removes a folder in the background, out of the way at once.
func (s *Server) trash(dir string) {
	to := filepath.Join(s.trashDir(), newID())
	if err := os.Rename(dir, to); err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("removing a folder", "path", dir, "error", err)
		}
		return
	}
	s.work.Go(func() {
		if err := os.RemoveAll(to); err != nil {
			s.log.Warn("removing a folder", "path", to, "error", err)
		}
	})
}

func (s *Server) pod(id string) (*pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pods[id]; p != nil {
		return p, nil
	}
	return nil, status.Errorf(codes.NotFound, "sandbox %s does not exist", id)
}

// StopPodSandbox implements the CRI. It may be called again at any time.
func (s *Server) StopPodSandbox(ctx context.Context, r *rt.StopPodSandboxRequest) (*rt.StopPodSandboxResponse, error) {
	s.mu.Lock()
	p := s.pods[r.GetPodSandboxId()]
	var gone bool
	if p != nil {
		p.stopping = true
		gone = p.record.Stopped
	}
	s.mu.Unlock()
	if p == nil || gone {
		return &rt.StopPodSandboxResponse{}, nil
	}
	if err := s.endShim(ctx, p); err != nil {
		return nil, fmt.Errorf("stopping sandbox %s: %w", p.id, err)
	}
	s.mu.Lock()
	first := !p.record.Stopped
	p.record.Stopped, p.ready = true, false
	rec := p.record
	s.mu.Unlock()
	if first {
		// Taking a link or a group away waits for the kernel, and nobody needs to wait with it.
		s.work.Go(func() {
			s.releaseNetwork(p)
			s.removeGroup(p)
		})
		if started := s.startedOf(p); len(started) > 0 {
			s.events.sandboxStopped(started[0])
		}
	}
	return &rt.StopPodSandboxResponse{}, writeRecord(p.dir, podFile, rec)
}

// endShim ends a pod's shim and all of its processes. When the shim has said
// that its containers have ended, its own end is not waited for.
func (s *Server) endShim(ctx context.Context, p *pod) error {
	if !procs.Alive(p.record.ShimPID, p.record.ShimStart) {
		return p.gone(ctx)
	}
	// A shim that does not answer in this time hangs, and is killed.
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	_, err := p.client().Call(ask, shimapi.Request{Op: shimapi.OpShutdown})
	cancel()
	if err != nil {
		s.log.Warn("a shim does not shut down and is killed", "pod", p.id, "error", err)
		if err := procs.Kill(p.record.ShimPID, p.record.ShimStart); err != nil {
			return err
		}
		return p.gone(ctx)
	}
	s.work.Go(func() {
		if err := procs.Kill(p.record.ShimPID, p.record.ShimStart); err != nil {
			s.log.Warn("ending a shim", "pod", p.id, "error", err)
		}
	})
	// What the shim noted arrives by another connection.
	for _, c := range s.startedOf(p) {
		select {
		case <-c.ended:
		case <-p.lost:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// gone waits until a pod's shim is gone and its end noted.
func (p *pod) gone(ctx context.Context) error {
	select {
	case <-p.lost:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startedOf lists the containers of a pod that were ever started.
func (s *Server) startedOf(p *pod) (all []*container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.containers {
		if c.pod == p && (c.starting || c.state.Phase != "") {
			all = append(all, c)
		}
	}
	return all
}

// RemovePodSandbox implements the CRI.
func (s *Server) RemovePodSandbox(ctx context.Context, r *rt.RemovePodSandboxRequest) (*rt.RemovePodSandboxResponse, error) {
	id := r.GetPodSandboxId()
	if _, err := s.StopPodSandbox(ctx, &rt.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	p := s.pods[id]
	var own []*container
	for _, c := range s.containers {
		if c.pod.id == id {
			own = append(own, c)
		}
	}
	s.mu.Unlock()
	if p == nil {
		return &rt.RemovePodSandboxResponse{}, nil
	}
	if err := p.gone(ctx); err != nil {
		return nil, fmt.Errorf("removing sandbox %s: %w", id, err)
	}
	for _, c := range own {
		if err := s.removeContainer(ctx, c); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	delete(s.pods, id)
	s.mu.Unlock()
	s.samples.Forget(p.id)
	s.trash(p.dir)
	s.forget(p)
	return &rt.RemovePodSandboxResponse{}, nil
}

// podIP is the pod's address; a pod in the node's network has the node's.
func (s *Server) podIP(p *pod) netip.Addr {
	if p.record.IP.IsValid() {
		return p.record.IP
	}
	return s.cfg.GatewayIP
}
