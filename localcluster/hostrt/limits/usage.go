package limits

import (
	"github.com/opencontainers/cgroups"
)

// Usage is what a group uses.
type Usage struct {
	// CPU in nanoseconds since the group was made; processes that ended are in it.
	CPU uint64
	// Memory in bytes: all of it, all but files that could be dropped, and that
	// of the processes alone.
	Memory, WorkingSet, RSS uint64
	// Limit of the memory in bytes, 0 for none.
	Limit                  uint64
	Faults, MajorFaults    uint64
	Tasks                  uint64
	Throttled, ThrottledNS uint64
}

// Usage reads the group of a pod, or of one of its containers.
func (g *Groups) Usage(names ...string) (Usage, error) {
	m, err := g.manager(&cgroups.Resources{}, names...)
	if err != nil {
		return Usage{}, err
	}
	st, err := m.Stats(&cgroups.StatsOptions{Controllers: cgroups.CPU | cgroups.Memory | cgroups.Pids})
	if err != nil {
		return Usage{}, err
	}
	mem := st.MemoryStats.Stats
	u := Usage{
		CPU: st.CpuStats.CpuUsage.TotalUsage, Memory: st.MemoryStats.Usage.Usage,
		Throttled: st.CpuStats.ThrottlingData.ThrottledPeriods, ThrottledNS: st.CpuStats.ThrottlingData.ThrottledTime,
		Tasks: st.PidsStats.Current,
	}
	idle := "total_inactive_file"
	u.RSS, u.Faults, u.MajorFaults = mem["total_rss"], mem["total_pgfault"], mem["total_pgmajfault"]
	if cgroups.IsCgroup2UnifiedMode() {
		idle = "inactive_file"
		u.RSS, u.Faults, u.MajorFaults = mem["anon"], mem["pgfault"], mem["pgmajfault"]
	}
	u.WorkingSet = u.Memory - min(u.Memory, mem[idle])
	// What the kernel says for "no limit" is larger than any machine.
	if l := st.MemoryStats.Usage.Limit; l < 1<<60 {
		u.Limit = l
	}
	return u, nil
}
