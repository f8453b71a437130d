package hostrt

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/procs"
)

// use is what a container or a pod uses, from its control group or its processes.
type use struct {
	// cpu in nanoseconds since its start, memory in bytes.
	cpu, memory, working, rss, limit uint64
	faults, major, tasks             uint64
}

func (u use) criCPU(at int64, pace uint64) *rt.CpuUsage {
	return &rt.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: number(u.cpu), UsageNanoCores: number(pace)}
}

func (u use) criMemory(at int64) *rt.MemoryUsage {
	m := &rt.MemoryUsage{
		Timestamp: at, WorkingSetBytes: number(u.working), UsageBytes: number(u.memory), RssBytes: number(u.rss),
		PageFaults: number(u.faults), MajorPageFaults: number(u.major),
	}
	if u.limit > 0 {
		m.AvailableBytes = number(u.limit - min(u.limit, u.working))
	}
	return m
}

func (u use) plus(o use) use {
	return use{u.cpu + o.cpu, u.memory + o.memory, u.working + o.working, u.rss + o.rss, u.limit + o.limit, u.faults + o.faults, u.major + o.major, u.tasks + o.tasks}
}

// reading is one look at what everything uses.
type reading struct {
	s   *Server
	now time.Time
	// walk goes through all processes, the first time that it is needed.
	walk func() map[string]use
}

func (s *Server) newReading() *reading {
	return &reading{s, time.Now(), sync.OnceValue(usageByNamespace)}
}

// container reads one container by its first process. ns names the PID
// namespace whose processes were added up, if they were.
func (r *reading) container(c *container, pid int) (u use, ns string) {
	if r.s.groups != nil {
		return r.group(c.pod.id, c.id), ""
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		return use{}, ""
	}
	u = r.walk()[ns]
	if limit := c.cfg.GetLinux().GetResources().GetMemoryLimitInBytes(); limit > 0 {
		u.limit = uint64(limit)
	}
	return u, ns
}

// pod reads a pod whose containers were read already.
func (r *reading) pod(p *pod, own []measured) use {
	if r.s.groups != nil {
		return r.group(p.id)
	}
	var total use
	seen := map[string]bool{}
	for _, m := range own {
		// Containers that share a PID namespace have the same sum.
		if !seen[m.ns] {
			seen[m.ns] = true
			total = total.plus(m.use)
		}
	}
	return total
}

func (r *reading) group(names ...string) use {
	g, err := r.s.groups.Usage(names...)
	if err != nil {
		return use{} // It ended meanwhile.
	}
	return use{cpu: g.CPU, memory: g.Memory, working: g.WorkingSet, rss: g.RSS, limit: g.Limit, faults: g.Faults, major: g.MajorFaults, tasks: g.Tasks}
}

// usageByNamespace sums up all processes by their PID namespace, in one walk.
// The CPU time of processes that ended is in that of who waited for them.
func usageByNamespace() map[string]use {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	const tick = uint64(time.Second / procs.TicksPerSecond)
	page := uint64(os.Getpagesize())
	sums := map[string]use{}
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
		rss := st.RSS * page
		sums[ns] = sums[ns].plus(use{
			cpu: (st.User + st.Sys + st.ChildUser + st.ChildSys) * tick, memory: rss, working: rss, rss: rss,
			faults: st.MinorFaults + st.MajorFaults, major: st.MajorFaults, tasks: 1,
		})
	}
	return sums
}
