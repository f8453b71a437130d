package hostrt_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt"
	"github.com/mlstudio/studio/localcluster/hostrt/procs"
)

// sandboxRecord is what the tests need of a sandbox's file.
func (p *pod) shimPID() int {
	p.n.t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.n.cfg.StateDir, "pods", p.id, "pod.json"))
	if err != nil {
		p.n.t.Fatal(err)
	}
	var rec struct{ ShimPID int }
	if err := json.Unmarshal(raw, &rec); err != nil || rec.ShimPID == 0 {
		p.n.t.Fatalf("reading %s: %v", raw, err)
	}
	return rec.ShimPID
}

// marked counts the processes that have a text among their arguments.
func marked(t *testing.T, text string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(all) == 0 {
		t.Fatalf("reading /proc: %v", err)
	}
	count := 0
	for _, dir := range all {
		raw, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if st, err := procs.ReadStat(pid); err == nil && st.State != 'Z' && strings.Contains(string(raw), text) {
			count++
		}
	}
	return count
}

// forks starts two processes, one of them in a session of its own, and waits.
const forks = "setsid sleep 4711 & sleep 4711 & echo ready; wait"

func TestKilledShim(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	c := p.run(forks)
	c.waitOutput("ready")
	if got := marked(t, "4711"); got < 2 {
		t.Fatalf("%d processes are there before", got)
	}
	if err := unix.Kill(p.shimPID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	st := c.wait()
	if st.ExitCode != 137 || st.Reason != "ShimKilled" || !strings.Contains(st.Message, "studio-shim") {
		t.Errorf("status %v", st)
	}
	within(t, "its processes end", func() bool { return marked(t, "4711") == 0 })
	res, err := n.rt.PodSandboxStatus(context.Background(), &rt.PodSandboxStatusRequest{PodSandboxId: p.id})
	if err != nil || res.Status.State != rt.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("the sandbox is %v, %v", res.GetStatus().GetState(), err)
	}
	// The kubelet makes a new sandbox beside the dead one.
	n.must("true")
}

// within waits for what the kernel does in its own time.
func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestAdoption(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	c := p.run("echo before; read x </tmp/go || while ! [ -e /tmp/go ]; do sleep 0.02; done; echo after; exit 3")
	c.waitOutput("before")
	short := p.run("sleep 0.1; exit 4", func(c *rt.ContainerConfig) { c.Metadata.Name, c.LogPath = "short", "short/0.log" })
	n.stop()
	// One ends while no runtime is there.
	time.Sleep(300 * time.Millisecond)
	n.start()
	if st := short.status(); st.State != rt.ContainerState_CONTAINER_EXITED || st.ExitCode != 4 {
		t.Errorf("what ended meanwhile: %v", st)
	}
	if st := c.status(); st.State != rt.ContainerState_CONTAINER_RUNNING {
		t.Fatalf("what runs on: %v", st)
	}
	if _, err := n.rt.ExecSync(context.Background(), &rt.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"touch", "/tmp/go"}, Timeout: 5}); err != nil {
		t.Fatal(err)
	}
	if st := c.wait(); st.ExitCode != 3 || c.output("stdout") != "before\nafter\n" {
		t.Errorf("%v, output %q", st, c.output("stdout"))
	}
	// Its address is not given to another.
	if a, b := n.must("hostname -I"), n.must("hostname -I"); a == b || a == "" {
		t.Errorf("addresses %q and %q", a, b)
	}
}

func TestNodeRestarted(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	c := p.run("echo up; sleep 4712")
	c.waitOutput("up")
	pid := p.shimPID()
	n.stop()
	// As the holder's end does it: the kernel kills all that was in its namespaces.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, "the pod ends", func() bool { return marked(t, "4712") == 0 })
	n.cfg.HolderID = "holder-2"
	n.start()
	if st := c.status(); st.State != rt.ContainerState_CONTAINER_EXITED || st.ExitCode != 137 || st.Reason != "NodeRestarted" || st.Message == "" {
		t.Errorf("status %v", st)
	}
	n.must("true")
}

func TestStopWithGrace(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	c := p.run("trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.02; done")
	c.waitOutput("up")
	if _, err := n.rt.StopContainer(context.Background(), &rt.StopContainerRequest{ContainerId: c.id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if st := c.status(); st.ExitCode != 5 || c.output("stdout") != "up\nterm\n" {
		t.Errorf("%v, output %q", st, c.output("stdout"))
	}
	deaf := p.run("trap '' TERM; echo up; while :; do sleep 0.02; done", func(c *rt.ContainerConfig) { c.Metadata.Name, c.LogPath = "deaf", "deaf/0.log" })
	deaf.waitOutput("up")
	begun := time.Now()
	if _, err := n.rt.StopContainer(context.Background(), &rt.StopContainerRequest{ContainerId: deaf.id, Timeout: 1}); err != nil {
		t.Fatal(err)
	}
	if st, took := deaf.status(), time.Since(begun); st.ExitCode != 137 || took < time.Second || took > 4*time.Second {
		t.Errorf("%v after %v", st, took)
	}
	usr := p.run("trap 'exit 6' USR1; echo up; while :; do sleep 0.02; done", func(c *rt.ContainerConfig) {
		c.Metadata.Name, c.LogPath, c.StopSignal = "usr", "usr/0.log", rt.Signal_SIGNAL_SIGUSR1
	})
	usr.waitOutput("up")
	if _, err := n.rt.StopContainer(context.Background(), &rt.StopContainerRequest{ContainerId: usr.id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if st := usr.status(); st.ExitCode != 6 {
		t.Errorf("with a stop signal of its own: %v", st)
	}
}

func TestStopAllGivesEachItsGrace(t *testing.T) {
	n := newNode(t)
	grace := func(name, seconds string) func(*rt.ContainerConfig) {
		return func(c *rt.ContainerConfig) {
			c.Metadata.Name, c.LogPath = name, name+"/0.log"
			c.Annotations = map[string]string{"io.kubernetes.pod.terminationGracePeriod": seconds}
		}
	}
	kind := n.pod().run("trap 'sleep 0.3; echo saved; exit 0' TERM; echo up; while :; do sleep 0.02; done", grace("kind", "20"))
	deaf := n.pod().run("trap '' TERM; echo up; while :; do sleep 0.02; done", grace("deaf", "1"))
	kind.waitOutput("up")
	deaf.waitOutput("up")
	begun := time.Now()
	if err := n.srv.StopAll(context.Background(), hostrt.Drain{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < time.Second || took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if st := kind.status(); st.ExitCode != 0 || !strings.Contains(kind.output("stdout"), "saved") {
		t.Errorf("the one that saves: %v %q", st, kind.output("stdout"))
	}
	if st := deaf.status(); st.ExitCode != 137 {
		t.Errorf("the one that does not listen: %v", st)
	}
}

// TestStopAllLetsThePodPrepare: what comes before the signal counts as grace.
func TestStopAllLetsThePodPrepare(t *testing.T) {
	n := newNode(t)
	c := n.pod().run("trap 'cat /tmp/prepared; exit 0' TERM; echo up; while :; do sleep 0.02; done", func(c *rt.ContainerConfig) {
		c.Annotations = map[string]string{"io.kubernetes.pod.terminationGracePeriod": "20", "mine": "x"}
	})
	c.waitOutput("up")
	err := n.srv.StopAll(context.Background(), hostrt.Drain{Before: func(ctx context.Context, e hostrt.Ending) {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > 20*time.Second {
			t.Errorf("the hook may take until %v", end)
		}
		if e.ID != c.id || e.Annotations["mine"] != "x" || net.ParseIP(e.PodIP) == nil {
			t.Errorf("ending %+v", e)
		}
		c.exec("sh", "-c", "echo prepared >/tmp/prepared")
	}})
	if err != nil {
		t.Fatal(err)
	}
	if st := c.status(); st.ExitCode != 0 || !strings.HasSuffix(c.output("stdout"), "prepared\n") {
		t.Errorf("%v %q", st, c.output("stdout"))
	}
}

// TestStopAllInStages: one of a later stage hears of the end only when the
// earlier ones have ended, or when its grace is over.
func TestStopAllInStages(t *testing.T) {
	n := newNode(t)
	named := func(name, grace string) func(*rt.ContainerConfig) {
		return func(c *rt.ContainerConfig) {
			c.Metadata.Name, c.LogPath = name, name+"/0.log"
			c.Annotations = map[string]string{"io.kubernetes.pod.terminationGracePeriod": grace, "stage": strings.TrimPrefix(name, "stage-")}
		}
	}
	const ends = "trap 'sleep 0.3; exit 0' TERM; echo up; while :; do sleep 0.02; done"
	p, slow := n.pod(), n.pod()
	var all []*container
	for _, name := range []string{"stage-2", "stage-0", "stage-1"} {
		all = append(all, p.run(ends, named(name, "20")))
	}
	all = append(all, slow.run("trap '' TERM; echo up; while :; do sleep 0.02; done", named("stage-0", "1")), slow.run(ends, named("stage-1", "1")))
	for _, c := range all {
		c.waitOutput("up")
	}
	err := n.srv.StopAll(context.Background(), hostrt.Drain{Stage: func(e hostrt.Ending) int {
		stage, err := strconv.Atoi(e.Annotations["stage"])
		if err != nil {
			t.Error(err)
		}
		return stage
	}})
	if err != nil {
		t.Fatal(err)
	}
	two, zero, one := all[0].status(), all[1].status(), all[2].status()
	const listens = int64(200 * time.Millisecond)
	if one.FinishedAt-zero.FinishedAt < listens || two.FinishedAt-one.FinishedAt < listens || two.ExitCode != 0 {
		t.Errorf("the stages ended at %d, %d and %d", zero.FinishedAt, one.FinishedAt, two.FinishedAt)
	}
	if deaf, after := all[3].status(), all[4].status(); deaf.ExitCode != 137 || after.ExitCode != 0 {
		t.Errorf("one that does not listen %v, and the one that waits for it %v", deaf, after)
	}
}

// TestSharedPIDs: what a container leaves behind in the pod's PID namespace
// neither goes on nor keeps the container from ending.
func TestSharedPIDs(t *testing.T) {
	n := newNode(t)
	for name, ns := range map[string]rt.NamespaceMode{"pod": rt.NamespaceMode_POD, "node": rt.NamespaceMode_NODE} {
		share := func(c *rt.ContainerConfig) {
			c.Metadata.Name, c.LogPath = name, name+"/0.log"
			c.Linux.SecurityContext.NamespaceOptions.Pid = ns
		}
		p := n.pod()
		other := p.run("echo up; sleep 4714", share)
		c := p.run("setsid sleep 4713 & sleep 0.1; echo up", func(c *rt.ContainerConfig) {
			share(c)
			c.Metadata.Name, c.LogPath = "leaver", "leaver/0.log"
		})
		if st := c.wait(); st.ExitCode != 0 {
			t.Errorf("%s: %v", name, st)
		}
		if got := marked(t, "4713"); got != 0 {
			t.Errorf("%s: %d processes are left", name, got)
		}
		if st := other.status(); st.State != rt.ContainerState_CONTAINER_RUNNING {
			t.Errorf("%s: the pod's other container: %v", name, st)
		}
	}
}
