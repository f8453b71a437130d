//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/test/proc"
)

// moments is how often something is killed; each part has its turn about three times.
const moments = 20

// parts are what can die, as `studio status` names them; the shim and "all" are found by their program.
var parts = []string{"studiod", "control-plane", "platform", "node", "holder", "shim", "all"}

// trainingLines is how much each job prints, a line each 100 ms: longer than the
// latest moment, so that there is always a shim to kill.
const trainingLines = 35

func TestCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("STUDIO_CRASH_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("reading STUDIO_CRASH_SEED: %v", err)
		}
	}
	t.Logf("the moments come from STUDIO_CRASH_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, seed))

	e := newEngine(t)
	e.up()
	w := newWriter(e)
	for i := range moments {
		part := parts[i%len(parts)]
		moment := time.Duration(random.Int64N(int64(3 * time.Second)))
		ok := t.Run(fmt.Sprintf("%02d %s after %d ms", i+1, part, moment.Milliseconds()), func(t *testing.T) {
			e := e.in(t)
			name := fmt.Sprintf("crash-%02d", i+1)
			e.train(name)
			stop := w.write(name)
			// The moment is the test's subject: any instant of the run must do.
			time.Sleep(moment)
			e.kill(part)
			stop()
			up := e.up()
			outcome := e.finish(name, part == "shim" || part == "holder" || part == "all")
			t.Logf("up took %.1f s; the job is %s\n%s", up.took.Seconds(), outcome, up.stderr)
		})
		if !ok {
			break // what comes after would fail of the same cause
		}
	}
	w.assertKept()
	e.studio("down")
	e.assertNothingLeft()
}

// A machine that lost power comes back with another boot id and no process of before.
func TestCrashReboot(t *testing.T) {
	e := newEngine(t)
	e.up()
	e.train("reboot")
	loop := shell("goes-on", "echo begun; sleep 1000")
	loop.Spec.RestartPolicy = corev1.RestartPolicyAlways
	e.start(loop)
	before := e.await("goes-on", "running", running)
	e.kill("all")
	e.assertNothingLeft()

	e.env = append(e.env, "STUDIO_BOOT_ID=11111111-2222-3333-4444-555555555555")
	e.up()
	after := e.await("goes-on", "running again", func(p *corev1.Pod) bool {
		return running(p) && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount > 0 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	if before.UID != after.UID {
		t.Errorf("another pod: %s", describe(after))
	}
	t.Logf("the job of before the reboot is %s", e.finish("reboot", true))
}

// train creates a TrainJob that prints "line 1" to "line N".
func (e *engine) train(name string) {
	e.t.Helper()
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo line $i; sleep 0.1; done", trainingLines)
	job := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(trainJob(name, script)), &job.Object); err != nil {
		e.t.Fatal(err)
	}
	e.eventually("creating TrainJob "+name, func(ctx context.Context) (bool, error) {
		_, err := e.dynamic().Resource(trainJobs).Namespace("default").Create(ctx, job, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err), err
	})
}

// finish waits for the job's end and checks it; it says how the job ended.
func (e *engine) finish(name string, mayFail bool) string {
	e.t.Helper()
	var reason, message string
	var failed bool
	var job *unstructured.Unstructured
	e.eventually("TrainJob "+name+" to end", func(ctx context.Context) (bool, error) {
		var err error
		if job, err = e.dynamic().Resource(trainJobs).Namespace("default").Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		var complete bool
		if reason, message, failed = condition(job, "Failed"); failed {
			return true, nil
		}
		_, _, complete = condition(job, "Complete")
		return complete, nil
	}, func() string { return fmt.Sprint(job) })
	if failed {
		if !mayFail || reason == "" || message == "" {
			e.t.Errorf("TrainJob %s is Failed: %q, %q", name, reason, message)
		}
		return fmt.Sprintf("Failed (%s: %s)", reason, message)
	}
	e.assertWholeLog(name)
	return "Complete"
}

// assertWholeLog: the pod that succeeded printed every line, once and in order.
func (e *engine) assertWholeLog(job string) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pods, err := e.client().CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "jobset.sigs.k8s.io/jobset-name=" + job})
	if err != nil {
		e.t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.Status.Phase != corev1.PodSucceeded {
			continue
		}
		var want strings.Builder
		for i := range trainingLines {
			fmt.Fprintf(&want, "line %d\n", i+1)
		}
		if got := e.logs(p.Name); got != want.String() {
			e.t.Errorf("the log of %s is %q", p.Name, got)
		}
		return
	}
	e.t.Errorf("TrainJob %s is Complete and none of its %d pods Succeeded", job, len(pods.Items))
}

// kill ends a part the way a fault would: at once, without a word.
func (e *engine) kill(part string) {
	e.t.Helper()
	var killed []string
	e.eventually("the end of "+part, func(context.Context) (bool, error) {
		victims := e.victims(part)
		for _, p := range victims {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("killing %s: %w", p, err)
			}
			killed = append(killed, p.String())
		}
		// What has not died yet may start the others again: all is over when none is left.
		return len(killed) > 0 && (part != "all" || len(victims) == 0), nil
	})
	e.t.Logf("killed %s", strings.Join(killed, ", "))
}

func (e *engine) victims(part string) []proc.Process {
	all := e.processes()
	if part == "all" {
		return all
	}
	for _, p := range all {
		hit := false
		switch part {
		case "shim":
			hit = p.Name == "studio-shim"
		case "platform":
			hit = p.Name == "studio-platform"
		case "studiod":
			hit = p.Name == "studiod" && len(p.Args) > 1 && p.Args[1] == "serve"
		default:
			hit = p.Name == "studiod" && len(p.Args) > 1 && p.Args[1] == part
		}
		if hit {
			return []proc.Process{p}
		}
	}
	return nil
}

// writer creates ConfigMaps one after another and remembers those that the API
// server acknowledged: no crash may lose one of them.
type writer struct {
	e     *engine
	mu    sync.Mutex
	acked []string
}

func newWriter(e *engine) *writer { return &writer{e: e} }

// write goes on until the returned function is called.
func (w *writer) write(prefix string) (stop func()) {
	w.e.t.Helper()
	client := w.e.client()
	ctx, cancel := context.WithCancel(context.Background())
	var end sync.WaitGroup
	end.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("%s-%04d", prefix, i)
			_, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			if err == nil {
				w.mu.Lock()
				w.acked = append(w.acked, name)
				w.mu.Unlock()
			}
			select { // a pause, so that the disk also does something else
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	return func() { cancel(); end.Wait() }
}

func (w *writer) assertKept() {
	w.e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := w.e.client().CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		w.e.t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, c := range list.Items {
		kept[c.Name] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.acked) < moments {
		w.e.t.Errorf("only %d objects were acknowledged", len(w.acked))
	}
	for _, name := range w.acked {
		if !kept[name] {
			w.e.t.Errorf("the acknowledged ConfigMap %s is lost", name)
		}
	}
	w.e.t.Logf("%d acknowledged objects, all looked for", len(w.acked))
}
