package hostrt_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hasGroups tells whether the kernel holds the limits in this test, or the shim.
func hasGroups(t *testing.T) bool {
	t.Helper()
	_, err := os.Stat(groupsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func limited(r *rt.LinuxContainerResources) func(*rt.ContainerConfig) {
	return func(c *rt.ContainerConfig) { c.Linux.Resources = r }
}

const hog = "exec python3 -c 'a=[]\nwhile True: a.append(bytearray(1<<20))'"

func TestMemoryLimit(t *testing.T) {
	n := newNode(t)
	small := limited(&rt.LinuxContainerResources{MemoryLimitInBytes: 64 << 20})
	st := n.pod().run(hog, small).wait()
	if st.ExitCode != 137 || st.Reason != "OOMKilled" {
		t.Errorf("a container that wants all memory ended with %d, %s %s", st.ExitCode, st.Reason, st.Message)
	}
	// A child that takes the memory counts as the container does.
	st = n.pod().run("python3 -c 'import os\nif os.fork()==0:\n a=[]\n while True: a.append(bytearray(1<<20))\nelse: raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]) != 0)'", small).wait()
	if st.ExitCode == 0 || st.Reason != "OOMKilled" {
		t.Errorf("a container whose child wants all memory ended with %d, %s", st.ExitCode, st.Reason)
	}
	st = n.pod().run("python3 -c 'a=bytearray(20<<20)'", small).wait()
	if st.ExitCode != 0 || st.Reason != "Completed" {
		t.Errorf("a container within its limit ended with %d, %s", st.ExitCode, st.Reason)
	}
	st = n.pod().run("exit 3", small).wait()
	if st.ExitCode != 3 || st.Reason != "Error" {
		t.Errorf("a container that fails ended with %d, %s", st.ExitCode, st.Reason)
	}
}

// What an exec starts counts for its container.
func TestMemoryLimitOfExec(t *testing.T) {
	n := newNode(t)
	c := n.pod().run("sleep 60", limited(&rt.LinuxContainerResources{MemoryLimitInBytes: 64 << 20}))
	res, err := n.rt.ExecSync(context.Background(), &rt.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"sh", "-c", hog}, Timeout: 15})
	if err == nil && res.ExitCode != 137 {
		t.Errorf("the command ended with %d: %s", res.ExitCode, res.Stderr)
	}
	if hasGroups(t) {
		return // The kernel ends the process that is too large, and the container goes on.
	}
	if st := c.wait(); st.Reason != "OOMKilled" {
		t.Errorf("the container ended with %s", st.Reason)
	}
}

// A fork bomb gets no more than its pod may have, and the pod can be ended.
func TestTasksLimit(t *testing.T) {
	n := newNode(t)
	c := n.pod().run("b() { b | b & }; b; wait", func(c *rt.ContainerConfig) { c.Command[0] = "/bin/bash" })
	other := n.pod().run("sleep 0.5; i=0; while [ $i -lt 20 ]; do i=$((i+1)); /bin/true || exit 1; done")
	if st := other.wait(); st.ExitCode != 0 {
		t.Errorf("another pod cannot start processes beside it: %d %s", st.ExitCode, other.output("stderr"))
	}
	most := 0
	for range 20 {
		most = max(most, len(procsLike("b() { b | b & }")))
		time.Sleep(20 * time.Millisecond)
	}
	// 400 are allowed; one user's processes together are bounded by 2,000.
	if most > 2000 {
		t.Errorf("the bomb had %d processes", most)
	}
	t.Logf("at most %d processes were seen", most)
	start := time.Now()
	if _, err := n.rt.StopPodSandbox(context.Background(), &rt.StopPodSandboxRequest{PodSandboxId: c.p.id}); err != nil {
		t.Fatal(err)
	}
	if left := procsLike("b() { b | b & }"); len(left) > 0 {
		t.Errorf("%d processes are left", len(left))
	}
	t.Logf("ended after %v", time.Since(start))
}

// procsLike finds the processes whose command line holds a text.
func procsLike(text string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if raw, err := os.ReadFile(path); err == nil && strings.Contains(string(raw), text) {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// groupValue reads a file of the pod's or, with an id, the container's group, by
// its names in version 1 and 2.
func groupValue(t *testing.T, controller, v1, v2 string, names ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{groupsDir()}, names...)...)
	file := v2
	if _, err := os.Stat(filepath.Join(path, v2)); err != nil {
		path, file = filepath.Join(append([]string{groupsDir(), controller}, names...)...), v1
	}
	raw, err := os.ReadFile(filepath.Join(path, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

func TestControlGroups(t *testing.T) {
	n := newNode(t)
	if !hasGroups(t) {
		t.Skip("no control groups here: the shim watches, see the other tests")
	}
	p := n.pod(func(c *rt.PodSandboxConfig) {
		c.Linux.Resources = &rt.LinuxContainerResources{MemoryLimitInBytes: 128 << 20, CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 300}
	})
	c := p.run("sleep 60", limited(&rt.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuPeriod: 100000, CpuQuota: 20000, CpuShares: 200}))
	expect := func(what, got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if got == w {
				return
			}
		}
		t.Errorf("%s is %q, want %q", what, got, want)
	}
	memory := func(names ...string) string {
		return groupValue(t, "memory", "memory.limit_in_bytes", "memory.max", names...)
	}
	expect("the container's memory", memory(p.id, c.id), strconv.Itoa(64<<20))
	expect("the pod's memory", memory(p.id), strconv.Itoa(128<<20))
	expect("the container's processor", groupValue(t, "cpu", "cpu.cfs_quota_us", "cpu.max", p.id, c.id), "20000", "20000 100000")
	expect("the pod's processor", groupValue(t, "cpu", "cpu.cfs_quota_us", "cpu.max", p.id), "50000", "50000 100000")
	expect("the pod's tasks", groupValue(t, "pids", "pids.max", "pids.max", p.id), "400")
	if procs := groupValue(t, "pids", "cgroup.procs", "cgroup.procs", p.id, c.id); len(strings.Fields(procs)) != 1 {
		t.Errorf("the container's group holds %q", procs)
	}
	// A container without a limit may use what it likes, so the pod may.
	p.run("sleep 60", func(c *rt.ContainerConfig) { c.Metadata.Name, c.LogPath = "free", "free/0.log" })
	if got := memory(p.id); len(got) < 16 && got != "max" {
		t.Errorf("with a container that has no limit the pod has %s", got)
	}
	if _, err := n.rt.UpdateContainerResources(context.Background(), &rt.UpdateContainerResourcesRequest{
		ContainerId: c.id, Linux: &rt.LinuxContainerResources{MemoryLimitInBytes: 96 << 20, CpuPeriod: 100000, CpuQuota: 30000},
	}); err != nil {
		t.Fatal(err)
	}
	expect("the container's new memory", memory(p.id, c.id), strconv.Itoa(96<<20))
	// Another runtime on the same state keeps the groups of what runs and removes the rest.
	n.stop()
	n.start()
	expect("the memory after a restart", memory(p.id, c.id), strconv.Itoa(96<<20))
	if _, err := n.rt.StopPodSandbox(context.Background(), &rt.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(groupsDir(), "*", p.id))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v", left)
		}
	}
}

// Without control groups a new limit holds from the next look of the shim.
func TestUpdateWithoutGroups(t *testing.T) {
	n := newNode(t)
	if hasGroups(t) {
		t.Skip("control groups hold the limits here: TestControlGroups changes them")
	}
	c := n.pod().run("exec python3 -c 'import time\na=bytearray(100<<20)\ntime.sleep(60)'", limited(&rt.LinuxContainerResources{MemoryLimitInBytes: 500 << 20}))
	time.Sleep(300 * time.Millisecond)
	if _, err := n.rt.UpdateContainerResources(context.Background(), &rt.UpdateContainerResourcesRequest{
		ContainerId: c.id, Linux: &rt.LinuxContainerResources{MemoryLimitInBytes: 50 << 20},
	}); err != nil {
		t.Fatal(err)
	}
	if st := c.wait(); st.Reason != "OOMKilled" {
		t.Errorf("it ended with %s", st.Reason)
	}
}

func TestStats(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	c := p.run("head -c 3000000 /dev/zero > /var/tmp/file; echo written; exec python3 -c 'a=bytearray(50<<20)\nwhile True: pass'", limited(&rt.LinuxContainerResources{MemoryLimitInBytes: 200 << 20}))
	c.waitOutput("written")
	idle := n.pod().run("sleep 60")
	ctx := context.Background()
	var st *rt.PodSandboxStats
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		res, err := n.rt.PodSandboxStats(ctx, &rt.PodSandboxStatsRequest{PodSandboxId: p.id})
		if err != nil {
			t.Fatal(err)
		}
		st = res.Stats
		if len(st.Linux.Containers) == 1 && st.Linux.Memory.WorkingSetBytes.Value > 50<<20 && st.Linux.Containers[0].WritableLayer.UsedBytes.Value > 0 &&
			st.Linux.Cpu.UsageNanoCores.Value > 5e6 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the pod's stats: %v", st)
		}
	}
	own := st.Linux.Containers[0]
	if m := own.Memory; m.WorkingSetBytes.Value > 150<<20 || m.AvailableBytes.GetValue() == 0 || m.AvailableBytes.Value > 150<<20 || m.RssBytes.Value < 40<<20 {
		t.Errorf("memory: %v", m)
	}
	if own.Cpu.UsageCoreNanoSeconds.Value == 0 || own.Cpu.UsageNanoCores.Value > 2e9 || st.Linux.Process.ProcessCount.Value != 1 {
		t.Errorf("processor: %v, processes: %v", own.Cpu, st.Linux.Process)
	}
	if l := own.WritableLayer; l.UsedBytes.Value < 2900000 || l.UsedBytes.Value > 50<<20 || l.InodesUsed.Value == 0 {
		t.Errorf("layer: %v", l)
	}
	if st.Linux.Network.GetDefaultInterface().GetName() != "eth0" {
		t.Errorf("network: %v", st.Linux.Network)
	}
	all, err := n.rt.ListContainerStats(ctx, &rt.ListContainerStatsRequest{Filter: &rt.ContainerStatsFilter{Id: idle.id}})
	if err != nil || len(all.Stats) != 1 || all.Stats[0].Cpu.UsageNanoCores.Value > 200e6 {
		t.Errorf("a container that sleeps: %v, %v", all, err)
	}
	pods, err := n.rt.ListPodSandboxStats(ctx, &rt.ListPodSandboxStatsRequest{Filter: &rt.PodSandboxStatsFilter{LabelSelector: map[string]string{"app": p.cfg.Labels["app"]}}})
	if err != nil || len(pods.Stats) != 1 || pods.Stats[0].Attributes.Id != p.id {
		t.Errorf("by label: %v, %v", pods, err)
	}
	if _, err := n.rt.StopPodSandbox(ctx, &rt.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Fatal(err)
	}
	ended, err := n.rt.ContainerStats(ctx, &rt.ContainerStatsRequest{ContainerId: c.id})
	if err != nil || ended.Stats.Memory.WorkingSetBytes.Value != 0 {
		t.Errorf("after its end: %v, %v", ended, err)
	}
}
