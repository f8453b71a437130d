//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/remotecommand"
)

// scaled is how many pods a test makes: STUDIO_CHURN_PERCENT of the full number.
func scaled(t *testing.T, full int) int {
	t.Helper()
	percent := 100
	if text := os.Getenv("STUDIO_CHURN_PERCENT"); text != "" {
		var err error
		if percent, err = strconv.Atoi(text); err != nil || percent < 1 {
			t.Fatalf("STUDIO_CHURN_PERCENT is %q, want a number from 1 on", text)
		}
	}
	return max(2, full*percent/100)
}

// long is how long a crowd of pods may take on a busy machine of two cores.
const long = 8 * time.Minute

// crowd follows all pods of a namespace by one watch.
type crowd struct {
	t     *testing.T
	core  kubernetes.Interface
	store cache.Store

	mu      sync.Mutex
	changed chan struct{}
}

func newCrowd(t *testing.T, e *engine) *crowd {
	t.Helper()
	cfg := e.config()
	cfg.QPS = -1
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{t: t, core: cs, changed: make(chan struct{})}
	f := informers.NewSharedInformerFactoryWithOptions(cs, 0, informers.WithNamespace("default"))
	i := f.Core().V1().Pods().Informer()
	c.store = i.GetStore()
	tell := func(any) {
		c.mu.Lock()
		defer c.mu.Unlock()
		close(c.changed)
		c.changed = make(chan struct{})
	}
	if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, n any) { tell(n) }, DeleteFunc: tell}); err != nil {
		t.Fatal(err)
	}
	f.StartWithContext(t.Context())
	f.WaitForCacheSyncWithContext(t.Context())
	return c
}

// create makes pods, some at a time, as a controller or kubectl would.
func (c *crowd) create(pods []*corev1.Pod) {
	c.t.Helper()
	todo, errs := make(chan *corev1.Pod), make(chan error, len(pods))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for p := range todo {
				_, err := c.core.CoreV1().Pods("default").Create(context.Background(), p, metav1.CreateOptions{})
				for end := time.Now().Add(patience); apierrors.IsForbidden(err) && time.Now().Before(end); {
					time.Sleep(50 * time.Millisecond) // the default service account is being made
					_, err = c.core.CoreV1().Pods("default").Create(context.Background(), p, metav1.CreateOptions{})
				}
				errs <- err
			}
		})
	}
	for _, p := range pods {
		todo <- p
	}
	close(todo)
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// until waits until n pods are as wanted and returns how long that took.
func (c *crowd) until(what string, n int, ok func(*corev1.Pod) bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	timeout := time.After(long)
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		have, states := 0, map[string]int{}
		for _, o := range c.store.List() {
			p := o.(*corev1.Pod)
			states[string(p.Status.Phase)]++
			if p.Status.Phase == corev1.PodFailed {
				c.t.Fatalf("pod %s: %s", p.Name, describe(p))
			}
			if ok(p) {
				have++
			}
		}
		if have == n {
			return time.Since(start)
		}
		select {
		case <-changed:
		case <-timeout:
			for _, o := range c.store.List() {
				if p := o.(*corev1.Pod); !ok(p) {
					c.t.Errorf("pod %s: %s", p.Name, describe(p))
					break
				}
			}
			c.t.Fatalf("after %s %d of %d pods are %s: %v", long, have, n, what, states)
		}
	}
}

func succeeded(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded }

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// clear deletes all pods and waits until they are gone.
func (c *crowd) clear() {
	c.t.Helper()
	if err := c.core.CoreV1().Pods("default").DeleteCollection(context.Background(), *metav1.NewDeleteOptions(0), metav1.ListOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.until("gone", 0, func(*corev1.Pod) bool { return true })
}

func many(n int, name string, make func(string) *corev1.Pod) []*corev1.Pod {
	var all []*corev1.Pod
	for i := range n {
		all = append(all, make(fmt.Sprintf("%s-%d", name, i)))
	}
	return all
}

func brief(name string) *corev1.Pod {
	p := shell(name, "true")
	p.Labels = map[string]string{"app": "churn"}
	return p
}

// TestChurn: crowds of pods, and what they leave.
func TestChurn(t *testing.T) {
	e := newEngine(t)
	e.up()
	c := newCrowd(t, e)
	e.service("churn", corev1.ServiceSpec{Selector: map[string]string{"app": "churn"}, Ports: []corev1.ServicePort{{Port: 80}}})

	// What the first pods of a cluster leave for good (caches, folders) is no leak.
	c.create(many(5, "first", brief))
	c.until("succeeded", 5, succeeded)
	c.clear()
	before := e.traces()

	t.Run("short ones at once", func(t *testing.T) {
		c.t = t
		n := scaled(t, 500)
		start := time.Now()
		c.create(many(n, "short", brief))
		c.until("succeeded", n, succeeded)
		t.Logf("%d pods in %.1f s", n, time.Since(start).Seconds())
		c.clear()
	})
	t.Run("running at once", func(t *testing.T) {
		c.t = t
		n := scaled(t, 110)
		start := time.Now()
		c.create(many(n, "stays", func(name string) *corev1.Pod { return shell(name, "echo up; sleep 3600") }))
		c.until("running", n, running)
		t.Logf("%d pods run after %.1f s", n, time.Since(start).Seconds())
		addresses := map[string]string{}
		for _, o := range c.store.List() {
			p := o.(*corev1.Pod)
			if other, taken := addresses[p.Status.PodIP]; taken || p.Status.PodIP == "" {
				t.Errorf("pods %s and %s have the address %q", p.Name, other, p.Status.PodIP)
			}
			addresses[p.Status.PodIP] = p.Name
		}
		e := e.in(t)
		var out bytes.Buffer
		if err := e.execute("websocket", fmt.Sprintf("stays-%d", n-1), "echo here", remotecommand.StreamOptions{Stdout: &out}); err != nil || out.String() != "here\n" {
			t.Errorf("exec: %q, %v", out.String(), err)
		}
		if out := e.logs("stays-0"); out != "up\n" {
			t.Errorf("the log of one: %q", out)
		}
		c.clear()
	})
	t.Run("one wave after the other", func(t *testing.T) {
		c.t = t
		n, wave := scaled(t, 1000), 100
		start := time.Now()
		for done := 0; done < n; done += wave {
			some := min(wave, n-done)
			c.create(many(some, fmt.Sprintf("wave-%d", done), brief))
			c.until("succeeded", some, succeeded)
			c.clear()
		}
		t.Logf("%d pods in %.1f s", n, time.Since(start).Seconds())
	})
	t.Run("they leave nothing", func(t *testing.T) {
		e := e.in(t)
		e.eventually("the traces of all pods to be gone", func(context.Context) (bool, error) {
			more := e.traces().beyond(before)
			if len(more) > 0 {
				return false, fmt.Errorf("%s", strings.Join(more, "\n"))
			}
			return true, nil
		})
	})
}

// watched is a pod that shows that it goes on: it counts, answers on a port, and
// has probes that notice when they are not asked.
func watched(name string) *corev1.Pod {
	p := server(name)
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	c := &p.Spec.Containers[0]
	c.Command = []string{"/bin/sh", "-c", "(i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done) & exec /usr/bin/python3 -c \"$0\"", namesItself}
	c.LivenessProbe = &corev1.Probe{
		PeriodSeconds: 3, FailureThreshold: 1, TimeoutSeconds: 60, // a crowd starts slowly on a busy machine
		ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sh", "-c", "test ! -e /tmp/ill"}}},
	}
	c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 2, TimeoutSeconds: 20, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8000)}}}
	return p
}

// TestChurnEngineRestart: an engine that stops and comes back, under pods that run.
func TestChurnEngineRestart(t *testing.T) {
	e := newEngine(t)
	e.up()
	c := newCrowd(t, e)
	n := scaled(t, 50)
	e.service("web", corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8000)}}})
	c.create(many(n, "on", watched))
	c.until("ready", n, ready)
	svc, err := e.client().CoreV1().Services("default").Get(context.Background(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// A client in the cluster asks the service all the time, also without an engine.
	asker := shell("asker", "")
	asker.Spec.Containers[0].Command = []string{"/usr/bin/python3", "-u", "-c", fmt.Sprintf(`
import os, time, urllib.request
good = bad = 0
while not os.path.exists("/tmp/enough"):
    try:
        urllib.request.urlopen("http://%s/", timeout=10).read(); good += 1
    except OSError as e: bad += 1; print(e)
    time.sleep(0.05)
print("good" if good > 20 else "few", good, "bad", bad)
`, svc.Spec.ClusterIP)}
	e.start(asker)
	e.await("asker", "running", running)
	exposed := strings.TrimSpace(e.studio("expose", "web", "-q").stdout)
	ids := e.containers()
	if len(ids) < n {
		t.Fatalf("only %d containers", len(ids))
	}

	e.studio("stop")
	without := time.Now()
	if left := e.processes(); len(left) < n {
		t.Errorf("without the engine only %d processes are left", len(left))
	}
	e.up()
	t.Logf("%d pods were without an engine for %.1f s", n, time.Since(without).Seconds())

	e.eventually("the same containers, ready", func(context.Context) (bool, error) {
		now := e.containers()
		for name, id := range ids {
			if now[name] != id {
				return false, fmt.Errorf("pod %s had container %s and has %s", name, id, now[name])
			}
		}
		return len(now) == len(ids), nil
	})
	if got, err := get(exposed); err != nil || !strings.HasPrefix(got, "on-") {
		t.Errorf("the exposed service: %q, %v", got, err)
	}
	// Logs went on and still do.
	counted := strings.Count(e.logs("on-0"), "\n")
	e.eventually("more output", func(context.Context) (bool, error) { return strings.Count(e.logs("on-0"), "\n") > counted, nil })
	if err := e.execute("spdy", "asker", "touch /tmp/enough", remotecommand.StreamOptions{Stdout: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	e.await("asker", "ended", ended)
	if out := e.logs("asker"); !strings.HasPrefix(out, "good ") || !strings.HasSuffix(out, " bad 0\n") {
		t.Errorf("the client of the service: %q", tail(out, 300))
	}
	// Exec works, and what it does the liveness probe sees.
	if err := e.execute("spdy", "on-1", "touch /tmp/ill", remotecommand.StreamOptions{Stdout: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	e.await("on-1", "restarted by its liveness probe", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 })
}

// containers maps each running pod to its container and how often it was restarted.
func (e *engine) containers() map[string]string {
	e.t.Helper()
	list, err := e.client().CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	ids := map[string]string{}
	for _, p := range list.Items {
		if ready(&p) && len(p.Status.ContainerStatuses) == 1 {
			ids[p.Name] = fmt.Sprint(p.Status.ContainerStatuses[0].ContainerID, " restarts ", p.Status.ContainerStatuses[0].RestartCount)
		}
	}
	return ids
}
