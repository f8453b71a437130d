package hostrt

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/limits"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// How far containers step back for the desktop where no control group weighs
// them: those that request processor time and those that do not.
const (
	niceBurstable  = 5
	niceBestEffort = 10
	// leastShares is the weight of a container that requests nothing.
	leastShares = 2
	// lifted takes a limit of a control group away.
	lifted = -1
)

// limitsOf is what a container may use, and by what that is held.
func (s *Server) limitsOf(c *container) shimapi.Limits {
	r := c.cfg.GetLinux().GetResources()
	l := asked(r)
	// Nothing of a pod is to outlive what a person works with, so none is spared
	// more than this process is; less than that a plain user may not ask for.
	l.OOMScore = int(max(r.GetOomScoreAdj(), s.oomScore))
	if s.groups != nil {
		l.Group = limits.Name(c.pod.id, c.id)
		return l
	}
	l.Tasks = s.cfg.Share.PodTasks
	l.Nice = niceBurstable
	if l.CPUShares <= leastShares {
		l.Nice = niceBestEffort
	}
	return l
}

func asked(r *rt.LinuxContainerResources) shimapi.Limits {
	return shimapi.Limits{
		Memory: r.GetMemoryLimitInBytes(), CPUQuota: r.GetCpuQuota(), CPUPeriod: uint64(r.GetCpuPeriod()), CPUShares: uint64(r.GetCpuShares()),
		Unified: r.GetUnified(),
	}
}

// prepareLimits finds what there is to hold limits with.
func (s *Server) prepareLimits() error {
	var err error
	if s.cfg.GroupsDir != "" {
		if s.groups, err = limits.Open(s.cfg.GroupsDir); err != nil {
			return err
		}
	}
	raw, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return fmt.Errorf("reading this process's score: %w", err)
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return fmt.Errorf("reading this process's score: %w", err)
	}
	s.oomScore = max(int64(score), 0)
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &own); err != nil {
		return fmt.Errorf("reading how many processes this user may have: %w", err)
	}
	s.userTasks = int64(min(uint64(s.cfg.Share.Tasks), own.Max))
	return nil
}

// makeGroup makes a pod's control group.
func (s *Server) makeGroup(p *pod) error {
	if s.groups == nil {
		return nil
	}
	return s.groups.MakePod(p.id, shimapi.Limits{CPUShares: uint64(p.cfg.GetLinux().GetResources().GetCpuShares()), Tasks: s.cfg.Share.PodTasks})
}

// removeGroup removes the group of a pod whose processes have been killed.
func (s *Server) removeGroup(p *pod) {
	if s.groups == nil {
		return
	}
	if err := s.groups.Remove(p.id); err != nil {
		s.log.Warn("removing a pod's control group", "pod", p.id, "error", err)
	}
}

// limitPod gives a pod the limits of all its containers together, or those that
// it has itself. The kubelet names them when it makes the sandbox, where the sum
// may be that of some containers only: while one without a limit is there the
// pod has none.
func (s *Server) limitPod(p *pod) error {
	if s.groups == nil {
		return nil
	}
	all, extra := asked(p.cfg.GetLinux().GetResources()), p.cfg.GetLinux().GetOverhead()
	l := shimapi.Limits{Memory: all.Memory, CPUQuota: all.CPUQuota, CPUPeriod: all.CPUPeriod}
	if l.Memory > 0 {
		l.Memory += extra.GetMemoryLimitInBytes()
	}
	if l.CPUQuota > 0 {
		l.CPUQuota += extra.GetCpuQuota()
	}
	s.mu.Lock()
	for _, c := range s.containers {
		if c.pod != p {
			continue
		}
		own := asked(c.cfg.GetLinux().GetResources())
		if own.Memory <= 0 && l.Memory > 0 {
			l.Memory = lifted
		}
		if own.CPUQuota <= 0 && l.CPUQuota > 0 {
			l.CPUQuota = lifted
		}
	}
	same := l.Memory == p.limits.Memory && l.CPUQuota == p.limits.CPUQuota
	p.limits = l
	s.mu.Unlock()
	if same {
		return nil
	}
	return s.groups.SetPod(p.id, l)
}

// UpdateContainerResources implements the CRI.
func (s *Server) UpdateContainerResources(ctx context.Context, r *rt.UpdateContainerResourcesRequest) (*rt.UpdateContainerResourcesResponse, error) {
	c, err := s.runningContainer(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	l := asked(r.GetLinux())
	if _, err := c.client().Call(ctx, shimapi.Request{Op: shimapi.OpLimit, ID: c.id, Limits: &l}); err != nil {
		return nil, fmt.Errorf("changing the limits of container %s: %w", c.id, err)
	}
	return &rt.UpdateContainerResourcesResponse{}, nil
}
