// Package machine says which part of this machine pods may have, so that the
// desktop beside them stays usable. The kubelet promises no more to pods, and
// where control groups are to be had the kernel gives no more.
package machine

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Share is the machine and what of it is kept from pods.
type Share struct {
	// Memory of the machine, and of it what pods do not get, in bytes.
	Memory, ReservedMemory int64
	// ReservedCPU is what no pod may request, in thousandths of a processor.
	// Processor time that nobody else wants goes to pods all the same.
	ReservedCPU int64
	// Tasks are the processes and threads that all pods may have, PodTasks
	// those of one pod.
	Tasks, PodTasks int64
}

// Pods' memory together.
func (s Share) PodMemory() int64 { return s.Memory - s.ReservedMemory }

// Own reads this machine's share.
func Own() (Share, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Share{}, fmt.Errorf("reading the machine's memory: %w", err)
	}
	tasks, err := mostTasks()
	if err != nil {
		return Share{}, err
	}
	return share(int64(info.Totalram)*int64(info.Unit), int64(runtime.NumCPU()), tasks), nil
}

func share(memory, processors, tasks int64) Share {
	s := Share{Memory: memory}
	// A browser and an editor want a quarter of a small machine, and little more
	// of a large one.
	s.ReservedMemory = min(memory, 16*gib)/4 + max(memory-16*gib, 0)/10
	s.ReservedMemory = min(s.ReservedMemory, 8*gib) &^ (mib - 1)
	s.ReservedCPU = min(max(processors*100, 200), 2000)
	// A program that starts processes without end must not have more than the
	// processors can carry.
	s.Tasks = min(processors*4096, tasks/2)
	s.PodTasks = min(max(processors*512, 1024), 8192, s.Tasks/2)
	return s
}

// mostTasks is how many tasks the kernel has room for.
func mostTasks() (int64, error) {
	least := int64(1 << 22)
	for _, path := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			return 0, fmt.Errorf("reading how many processes this machine can have: %w", err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", path, err)
		}
		least = min(least, n)
	}
	return least, nil
}
