package hostrt

import (
	"context"
	"sort"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// The functions of this file that take no lock want the caller to hold it.

func (p *pod) item() *rt.PodSandbox {
	state := rt.PodSandboxState_SANDBOX_NOTREADY
	if p.ready {
		state = rt.PodSandboxState_SANDBOX_READY
	}
	return &rt.PodSandbox{Id: p.id, Metadata: p.cfg.GetMetadata(), State: state, CreatedAt: p.created, Labels: p.cfg.GetLabels(), Annotations: p.cfg.GetAnnotations()}
}

func (s *Server) podStatus(p *pod) *rt.PodSandboxStatus {
	i := p.item()
	st := &rt.PodSandboxStatus{
		Id: i.Id, Metadata: i.Metadata, State: i.State, CreatedAt: i.CreatedAt, Labels: i.Labels, Annotations: i.Annotations,
		Network: &rt.PodSandboxNetworkStatus{},
		Linux:   &rt.LinuxPodSandboxStatus{Namespaces: &rt.Namespace{Options: p.cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}
	if p.ready {
		st.Network.Ip = s.podIP(p).String()
	}
	return st
}

func (s *Server) containerStatuses(p *pod) []*rt.ContainerStatus {
	var all []*rt.ContainerStatus
	for _, c := range s.containers {
		if c.pod == p {
			all = append(all, c.status())
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].CreatedAt < all[j].CreatedAt })
	return all
}

func (c *container) criState() rt.ContainerState {
	switch c.state.Phase {
	case shimapi.Running:
		return rt.ContainerState_CONTAINER_RUNNING
	case shimapi.Exited:
		return rt.ContainerState_CONTAINER_EXITED
	}
	return rt.ContainerState_CONTAINER_CREATED
}

func (c *container) logPath() string {
	if c.cfg.GetLogPath() == "" {
		return ""
	}
	return c.pod.cfg.GetLogDirectory() + "/" + c.cfg.GetLogPath()
}

func (c *container) status() *rt.ContainerStatus {
	return &rt.ContainerStatus{
		Id: c.id, Metadata: c.cfg.GetMetadata(), State: c.criState(), CreatedAt: c.created,
		StartedAt: c.state.StartedAt, FinishedAt: c.state.FinishedAt, ExitCode: int32(c.state.ExitCode),
		Reason: c.state.Reason, Message: c.state.Message,
		Image: &rt.ImageSpec{Image: userImage(c.cfg)}, ImageRef: c.imageRef(), ImageId: c.imageID(),
		Labels: c.cfg.GetLabels(), Annotations: c.cfg.GetAnnotations(), Mounts: c.cfg.GetMounts(), LogPath: c.logPath(),
		StopSignal: c.cfg.GetStopSignal(), User: c.user.status(),
	}
}

func (c *container) item() *rt.Container {
	return &rt.Container{
		Id: c.id, PodSandboxId: c.pod.id, Metadata: c.cfg.GetMetadata(), Image: c.cfg.GetImage(), ImageRef: c.imageRef(), ImageId: c.imageID(),
		State: c.criState(), CreatedAt: c.created, Labels: c.cfg.GetLabels(), Annotations: c.cfg.GetAnnotations(),
	}
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// PodSandboxStatus implements the CRI. The timestamp stays 0: with a value the
// kubelet of 1.37 loses track of init containers.
func (s *Server) PodSandboxStatus(_ context.Context, r *rt.PodSandboxStatusRequest) (*rt.PodSandboxStatusResponse, error) {
	p, err := s.pod(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &rt.PodSandboxStatusResponse{Status: s.podStatus(p), ContainersStatuses: s.containerStatuses(p)}, nil
}

// ListPodSandbox implements the CRI.
func (s *Server) ListPodSandbox(_ context.Context, r *rt.ListPodSandboxRequest) (*rt.ListPodSandboxResponse, error) {
	f := r.GetFilter()
	res := &rt.ListPodSandboxResponse{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		i := p.item()
		if f.GetId() != "" && f.GetId() != i.Id || f.GetState() != nil && f.GetState().GetState() != i.State || !matches(f.GetLabelSelector(), i.Labels) {
			continue
		}
		res.Items = append(res.Items, i)
	}
	return res, nil
}

// ListContainers implements the CRI.
func (s *Server) ListContainers(_ context.Context, r *rt.ListContainersRequest) (*rt.ListContainersResponse, error) {
	f := r.GetFilter()
	res := &rt.ListContainersResponse{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.containers {
		i := c.item()
		if f.GetId() != "" && f.GetId() != i.Id || f.GetPodSandboxId() != "" && f.GetPodSandboxId() != i.PodSandboxId ||
			f.GetState() != nil && f.GetState().GetState() != i.State || !matches(f.GetLabelSelector(), i.Labels) {
			continue
		}
		res.Containers = append(res.Containers, i)
	}
	return res, nil
}

// ContainerStatus implements the CRI.
func (s *Server) ContainerStatus(_ context.Context, r *rt.ContainerStatusRequest) (*rt.ContainerStatusResponse, error) {
	c, err := s.container(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &rt.ContainerStatusResponse{Status: c.status()}, nil
}
