//go:build e2e

package e2e

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"
)

// usable is how long this machine may take for a small thing while a pod does its worst.
const usable = 10 * time.Second

func limitedShell(name, script, cpu, memory string) *corev1.Pod {
	p := shell(name, script)
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return p
}

// What a pod does within its limits' walls does not take the machine.
func TestLimits(t *testing.T) {
	e := newEngine(t)
	e.up()
	t.Run("a pod that wants all memory is ended", func(t *testing.T) {
		e := e.in(t)
		e.start(limitedShell("hog", `exec python3 -c 'a=[]
while True: a.append(bytearray(1<<20))'`, "1", "128Mi"))
		last := e.await("hog", "ended", ended)
		state := last.Status.ContainerStatuses[0].State.Terminated
		if state == nil || state.Reason != "OOMKilled" || state.ExitCode != 137 {
			t.Errorf("it ended as %s", describe(last))
		}
	})
	t.Run("a fork bomb leaves the machine usable", func(t *testing.T) {
		e := e.in(t)
		bomb := limitedShell("bomb", "b() { b | b & }; b; while :; do :; done", "500m", "256Mi")
		bomb.Spec.Containers[0].Command[0] = "/bin/bash"
		e.start(bomb)
		e.await("bomb", "running or ended", func(p *corev1.Pod) bool { return running(p) || ended(p) })
		for range 3 {
			start := time.Now()
			if out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "ls / >/dev/null && echo fine").CombinedOutput(); err != nil || string(out) != "fine\n" {
				t.Errorf("a command on the machine: %v %s", err, out)
			}
			e.status()
			if took := time.Since(start); took > usable {
				t.Errorf("a command and a status took %v", took)
			}
			time.Sleep(300 * time.Millisecond)
		}
		// Another pod starts and ends beside it.
		start := time.Now()
		e.output(shell("beside", "for i in 1 2 3 4 5; do /bin/true || exit 1; done"))
		t.Logf("a pod beside the bomb took %v", time.Since(start))
		grace := int64(0)
		if err := e.client().CoreV1().Pods("default").Delete(t.Context(), "bomb", metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
			t.Fatal(err)
		}
		e.eventually("the bomb's processes to be gone", func(context.Context) (bool, error) {
			out, err := exec.Command("ps", "-eo", "args").Output()
			return err == nil && !strings.Contains(string(out), "b() { b | b & }"), err
		})
	})
	t.Run("limits hold while the engine is stopped", func(t *testing.T) {
		e := e.in(t)
		e.start(limitedShell("late", `exec python3 -c 'import time
time.sleep(8)
a=[]
while True: a.append(bytearray(1<<20))'`, "1", "128Mi"))
		e.await("late", "running", running)
		e.studio("stop")
		time.Sleep(10 * time.Second)
		e.up()
		last := e.await("late", "ended", ended)
		if state := last.Status.ContainerStatuses[0].State.Terminated; state == nil || state.Reason != "OOMKilled" {
			t.Errorf("it ended as %s", describe(last))
		}
	})
}

// `kubectl top` reads what this reads.
func TestLimitsTop(t *testing.T) {
	e := newEngine(t)
	e.up()
	c, err := metricsclient.NewForConfig(e.config())
	if err != nil {
		t.Fatal(err)
	}
	e.start(shell("busy", "python3 -c 'a=bytearray(64<<20)\nwhile True: pass'"))
	e.await("busy", "running", running)
	e.eventually("the metrics of a busy pod", func(ctx context.Context) (bool, error) {
		m, err := c.MetricsV1beta1().PodMetricses("default").Get(ctx, "busy", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		u := m.Containers[0].Usage
		return u.Cpu().MilliValue() > 50 && u.Cpu().MilliValue() < 1500 && u.Memory().Value() > 60<<20 && u.Memory().Value() < 200<<20, nil
	})
	nodes, err := c.MetricsV1beta1().NodeMetricses().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 || nodes.Items[0].Usage.Memory().Value() < 100<<20 {
		t.Errorf("the node: %v, %v", nodes, err)
	}
	// The kubelet's own summary has the rest.
	raw, err := e.client().CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/studio/proxy/stats/summary").Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	text, err := io.ReadAll(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"txBytes"`, `"workingSetBytes"`, `"usageNanoCores"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the summary lacks %s: %s", want, text)
		}
	}
	node, err := e.client().CoreV1().Nodes().Get(t.Context(), "studio", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, free := node.Status.Capacity, node.Status.Allocatable
	if free.Memory().Cmp(*all.Memory()) >= 0 || free.Cpu().Cmp(*all.Cpu()) >= 0 || free.Pods().Value() != 110 {
		t.Errorf("of %v pods may have %v", all, free)
	}
}

// An engine that stands still as a machine that sleeps goes on where it was: no
// pod is ended, the node stays ready, and what was asked meanwhile is done.
func TestLimitsSleep(t *testing.T) {
	if os.Getenv("STUDIO_SHORT") != "" {
		t.Skip("SKIPPED: it stands still for a minute")
	}
	e := newEngine(t)
	e.up()
	p := shell("awake", "trap 'exit 0' TERM; while :; do sleep 0.2; done")
	p.Spec.Containers[0].LivenessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/true"}}},
		PeriodSeconds: 2, TimeoutSeconds: 5, FailureThreshold: 1,
	}
	e.start(p)
	before := e.await("awake", "running", running)
	pids := e.processes()
	if len(pids) < 4 {
		t.Fatalf("only %d processes of the engine were found", len(pids))
	}
	freeze(t, pids, true)
	time.Sleep(time.Minute)
	freeze(t, pids, false)
	start := time.Now()
	e.output(shell("after", "true"))
	t.Logf("a pod after the sleep took %v", time.Since(start))
	time.Sleep(5 * time.Second) // Probes and leases are due again.
	after := e.await("awake", "running", running)
	if after.UID != before.UID || after.Status.ContainerStatuses[0].RestartCount != 0 || after.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the pod did not live on: %s", describe(after))
	}
	node, err := e.client().CoreV1().Nodes().Get(t.Context(), "studio", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			t.Errorf("the node is not ready: %+v", c)
		}
	}
	for _, taint := range node.Spec.Taints {
		t.Errorf("the node is tainted: %+v", taint)
	}
	for _, part := range e.status().Processes {
		if part.Restarts != 0 {
			t.Errorf("%s was started again: %s", part.Name, part.Message)
		}
	}
}
