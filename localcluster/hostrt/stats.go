package hostrt

import (
	"context"
	"time"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/podnet"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

func number(n uint64) *rt.UInt64Value { return &rt.UInt64Value{Value: n} }

// measured is one container and what it uses.
type measured struct {
	c     *container
	use   use
	ns    string
	pace  uint64
	layer layerUse
}

func (s *Server) containerStats(m measured, now time.Time) *rt.ContainerStats {
	c, at := m.c, now.UnixNano()
	return &rt.ContainerStats{
		Attributes: &rt.ContainerAttributes{Id: c.id, Metadata: c.cfg.GetMetadata(), Labels: c.cfg.GetLabels(), Annotations: c.cfg.GetAnnotations()},
		Cpu:        m.use.criCPU(at, m.pace), Memory: m.use.criMemory(at),
		WritableLayer: &rt.FilesystemUsage{
			Timestamp: at, FsId: &rt.FilesystemIdentifier{Mountpoint: s.cfg.StateDir},
			UsedBytes: number(m.layer.bytes), InodesUsed: number(m.layer.inodes),
		},
	}
}

func (s *Server) podStats(p *pod, own []measured, r *reading) *rt.PodSandboxStats {
	at := r.now.UnixNano()
	total := r.pod(p, own)
	linux := &rt.LinuxPodSandboxStats{
		Cpu: total.criCPU(at, s.samples.Of(p.id, time.Unix(0, p.created), r.now, total.cpu)), Memory: total.criMemory(at),
		Process: &rt.ProcessUsage{Timestamp: at, ProcessCount: number(total.tasks)},
	}
	for _, m := range own {
		linux.Containers = append(linux.Containers, s.containerStats(m, r.now))
	}
	if p.record.IP.IsValid() {
		if n, err := podnet.Traffic(p.id); err == nil {
			linux.Network = &rt.NetworkUsage{Timestamp: at, DefaultInterface: &rt.NetworkInterfaceUsage{
				Name: podnet.PodLink, RxBytes: number(n.RxBytes), RxErrors: number(n.RxErrors), TxBytes: number(n.TxBytes), TxErrors: number(n.TxErrors),
			}}
		}
	}
	return &rt.PodSandboxStats{
		Attributes: &rt.PodSandboxAttributes{Id: p.id, Metadata: p.cfg.GetMetadata(), Labels: p.cfg.GetLabels(), Annotations: p.cfg.GetAnnotations()},
		Linux:      linux,
	}
}

// measure reads the running containers that are asked for.
func (s *Server) measure(r *reading, wanted func(*container) bool) []measured {
	type one struct {
		c     *container
		state shimapi.State
	}
	var running []one
	s.mu.Lock()
	for _, c := range s.containers {
		if c.state.Phase == shimapi.Running && wanted(c) {
			running = append(running, one{c, c.state})
		}
	}
	s.mu.Unlock()
	all := make([]measured, 0, len(running))
	for _, o := range running {
		u, ns := r.container(o.c, o.state.PID)
		all = append(all, measured{o.c, u, ns, s.samples.Of(o.c.id, time.Unix(0, o.state.StartedAt), r.now, u.cpu), s.layers.of(o.c)})
	}
	return all
}

func (s *Server) listContainerStats(wanted func(*container) bool) []*rt.ContainerStats {
	r := s.newReading()
	var all []*rt.ContainerStats
	for _, m := range s.measure(r, wanted) {
		all = append(all, s.containerStats(m, r.now))
	}
	return all
}

func (s *Server) listPodStats(wanted func(*pod) bool) []*rt.PodSandboxStats {
	r := s.newReading()
	var pods []*pod
	s.mu.Lock()
	for _, p := range s.pods {
		if p.ready && wanted(p) {
			pods = append(pods, p)
		}
	}
	s.mu.Unlock()
	own := map[*pod][]measured{}
	for _, m := range s.measure(r, func(c *container) bool { return wanted(c.pod) }) {
		own[m.c.pod] = append(own[m.c.pod], m)
	}
	var all []*rt.PodSandboxStats
	for _, p := range pods {
		all = append(all, s.podStats(p, own[p], r))
	}
	return all
}

// ContainerStats implements the CRI.
func (s *Server) ContainerStats(_ context.Context, r *rt.ContainerStatsRequest) (*rt.ContainerStatsResponse, error) {
	c, err := s.container(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	if all := s.listContainerStats(func(other *container) bool { return other == c }); len(all) > 0 {
		return &rt.ContainerStatsResponse{Stats: all[0]}, nil
	}
	return &rt.ContainerStatsResponse{Stats: s.containerStats(measured{c: c}, time.Now())}, nil
}

// ListContainerStats implements the CRI.
func (s *Server) ListContainerStats(_ context.Context, r *rt.ListContainerStatsRequest) (*rt.ListContainerStatsResponse, error) {
	f := r.GetFilter()
	return &rt.ListContainerStatsResponse{Stats: s.listContainerStats(func(c *container) bool {
		return (f.GetId() == "" || f.GetId() == c.id) && (f.GetPodSandboxId() == "" || f.GetPodSandboxId() == c.pod.id) && matches(f.GetLabelSelector(), c.cfg.GetLabels())
	})}, nil
}

// PodSandboxStats implements the CRI.
func (s *Server) PodSandboxStats(_ context.Context, r *rt.PodSandboxStatsRequest) (*rt.PodSandboxStatsResponse, error) {
	p, err := s.pod(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if all := s.listPodStats(func(other *pod) bool { return other == p }); len(all) > 0 {
		return &rt.PodSandboxStatsResponse{Stats: all[0]}, nil
	}
	return &rt.PodSandboxStatsResponse{Stats: s.podStats(p, nil, s.newReading())}, nil
}

// ListPodSandboxStats implements the CRI.
func (s *Server) ListPodSandboxStats(_ context.Context, r *rt.ListPodSandboxStatsRequest) (*rt.ListPodSandboxStatsResponse, error) {
	f := r.GetFilter()
	return &rt.ListPodSandboxStatsResponse{Stats: s.listPodStats(func(p *pod) bool {
		return (f.GetId() == "" || f.GetId() == p.id) && matches(f.GetLabelSelector(), p.cfg.GetLabels())
	})}, nil
}
