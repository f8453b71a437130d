package machine

import "testing"

// The desktop keeps at least a gigabyte and a fifth of a processor, and pods the most of any machine.
func TestShare(t *testing.T) {
	for _, m := range []struct {
		memory, processors, reserved, cpu, tasks, podTasks int64
	}{
		{4 * gib, 2, 1 * gib, 200, 8192, 1024},
		{16 * gib, 8, 4 * gib, 800, 16384, 4096},
		{32 * gib, 16, (4*gib + 16*gib/10) &^ (mib - 1), 1600, 16384, 8192},
		{256 * gib, 64, 8 * gib, 2000, 16384, 8192},
	} {
		s := share(m.memory, m.processors, 32768)
		if s.ReservedMemory != m.reserved || s.ReservedCPU != m.cpu {
			t.Errorf("%d GiB, %d processors: %d bytes and %dm are kept, want %d and %dm", m.memory/gib, m.processors, s.ReservedMemory, s.ReservedCPU, m.reserved, m.cpu)
		}
		if s.PodMemory() < m.memory*3/4 {
			t.Errorf("%d GiB: pods get %d bytes, less than three quarters", m.memory/gib, s.PodMemory())
		}
		if s.Tasks != m.tasks || s.PodTasks != m.podTasks {
			t.Errorf("%d processors: %d tasks and %d a pod, want %d and %d", m.processors, s.Tasks, s.PodTasks, m.tasks, m.podTasks)
		}
	}
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	if own.PodMemory() <= 0 || own.PodTasks <= 0 || own.PodTasks > own.Tasks {
		t.Errorf("this machine: %+v", own)
	}
}
