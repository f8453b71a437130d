package hostrt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/procs"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// usage is what a set of processes uses.
type usage struct {
	cpuTicks, rssPages, minor, major, processes uint64
}

// usageByNamespace sums up all processes by their PID namespace, in one walk.
// The CPU time of processes that ended is in that of who waited for them.
func usageByNamespace() (map[string]*usage, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	sums := map[string]*usage{}
	for _, dir := range dirs {
		// A process may end while it is looked at; then it is passed over.
		ns, err := os.Readlink(dir + "/ns/pid")
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		st, err := procs.ReadStat(pid)
		if err != nil {
			continue
		}
		u := sums[ns]
		if u == nil {
			u = &usage{}
			sums[ns] = u
		}
		u.cpuTicks += st.User + st.Sys + st.ChildUser + st.ChildSys
		u.rssPages += st.RSS
		u.minor += st.MinorFaults
		u.major += st.MajorFaults
		u.processes++
	}
	return sums, nil
}

func (u *usage) cpu(now int64) *rt.CpuUsage {
	const tick = uint64(time.Second / procs.TicksPerSecond)
	return &rt.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &rt.UInt64Value{Value: u.cpuTicks * tick}}
}

func (u *usage) memory(now int64) *rt.MemoryUsage {
	rss := &rt.UInt64Value{Value: u.rssPages * uint64(os.Getpagesize())}
	return &rt.MemoryUsage{
		Timestamp: now, WorkingSetBytes: rss, UsageBytes: rss, RssBytes: rss,
		PageFaults: &rt.UInt64Value{Value: u.minor + u.major}, MajorPageFaults: &rt.UInt64Value{Value: u.major},
	}
}

func (u *usage) add(o *usage) {
	u.cpuTicks += o.cpuTicks
	u.rssPages += o.rssPages
	u.minor += o.minor
	u.major += o.major
	u.processes += o.processes
}

// containerUsage is a container's part; the caller holds the lock.
func containerUsage(c *container, sums map[string]*usage) *usage {
	if c.state.Phase != shimapi.Running {
		return &usage{}
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.state.PID))
	if err != nil || sums[ns] == nil {
		return &usage{}
	}
	return sums[ns]
}

func (s *Server) containerStats(c *container, sums map[string]*usage, now int64) *rt.ContainerStats {
	u := containerUsage(c, sums)
	return &rt.ContainerStats{
		Attributes: &rt.ContainerAttributes{Id: c.id, Metadata: c.cfg.GetMetadata(), Labels: c.cfg.GetLabels(), Annotations: c.cfg.GetAnnotations()},
		Cpu:        u.cpu(now), Memory: u.memory(now),
		WritableLayer: &rt.FilesystemUsage{
			Timestamp: now, FsId: &rt.FilesystemIdentifier{Mountpoint: s.cfg.StateDir},
			UsedBytes: &rt.UInt64Value{}, InodesUsed: &rt.UInt64Value{},
		},
	}
}

func (s *Server) podStats(p *pod, sums map[string]*usage, now int64) *rt.PodSandboxStats {
	total := &usage{}
	linux := &rt.LinuxPodSandboxStats{}
	seen := map[*usage]bool{}
	for _, c := range s.containers {
		if c.pod != p || c.state.Phase != shimapi.Running {
			continue
		}
		// Containers that share a PID namespace share their sum.
		if u := containerUsage(c, sums); !seen[u] {
			seen[u] = true
			total.add(u)
		}
		linux.Containers = append(linux.Containers, s.containerStats(c, sums, now))
	}
	linux.Cpu, linux.Memory = total.cpu(now), total.memory(now)
	linux.Process = &rt.ProcessUsage{Timestamp: now, ProcessCount: &rt.UInt64Value{Value: total.processes}}
	return &rt.PodSandboxStats{
		Attributes: &rt.PodSandboxAttributes{Id: p.id, Metadata: p.cfg.GetMetadata(), Labels: p.cfg.GetLabels(), Annotations: p.cfg.GetAnnotations()},
		Linux:      linux,
	}
}

// ContainerStats implements the CRI.
func (s *Server) ContainerStats(_ context.Context, r *rt.ContainerStatsRequest) (*rt.ContainerStatsResponse, error) {
	c, err := s.container(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	sums, err := usageByNamespace()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &rt.ContainerStatsResponse{Stats: s.containerStats(c, sums, time.Now().UnixNano())}, nil
}

// ListContainerStats implements the CRI.
func (s *Server) ListContainerStats(_ context.Context, r *rt.ListContainerStatsRequest) (*rt.ListContainerStatsResponse, error) {
	sums, err := usageByNamespace()
	if err != nil {
		return nil, err
	}
	f, now := r.GetFilter(), time.Now().UnixNano()
	res := &rt.ListContainerStatsResponse{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.containers {
		if c.state.Phase != shimapi.Running || f.GetId() != "" && f.GetId() != c.id ||
			f.GetPodSandboxId() != "" && f.GetPodSandboxId() != c.pod.id || !matches(f.GetLabelSelector(), c.cfg.GetLabels()) {
			continue
		}
		res.Stats = append(res.Stats, s.containerStats(c, sums, now))
	}
	return res, nil
}

// PodSandboxStats implements the CRI.
func (s *Server) PodSandboxStats(_ context.Context, r *rt.PodSandboxStatsRequest) (*rt.PodSandboxStatsResponse, error) {
	p, err := s.pod(r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	sums, err := usageByNamespace()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &rt.PodSandboxStatsResponse{Stats: s.podStats(p, sums, time.Now().UnixNano())}, nil
}

// ListPodSandboxStats implements the CRI.
func (s *Server) ListPodSandboxStats(_ context.Context, r *rt.ListPodSandboxStatsRequest) (*rt.ListPodSandboxStatsResponse, error) {
	sums, err := usageByNamespace()
	if err != nil {
		return nil, err
	}
	f, now := r.GetFilter(), time.Now().UnixNano()
	res := &rt.ListPodSandboxStatsResponse{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		if !p.ready || f.GetId() != "" && f.GetId() != p.id || !matches(f.GetLabelSelector(), p.cfg.GetLabels()) {
			continue
		}
		res.Stats = append(res.Stats, s.podStats(p, sums, now))
	}
	return res, nil
}
