//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/test/proc"
)

// The whole way of a first user, in order; each step needs the one before.
func TestJourney(t *testing.T) {
	e := newEngine(t)
	project := e.project("digits")

	t.Run("up tells its phases", func(t *testing.T) {
		e := e.in(t)
		r := e.studio("up", "--driver", "embedded", "--json")
		finished := map[string]bool{}
		for line := range strings.Lines(r.stdout) {
			var ev localcluster.Event
			if err := json.Unmarshal([]byte(line), &ev); err != nil {
				t.Fatalf("%q is not an event: %v", line, err)
			}
			if ev.State == localcluster.Done {
				finished[ev.Phase] = true
			}
			if ev.State == localcluster.Failed {
				t.Errorf("phase %s failed: %s", ev.Phase, ev.Message)
			}
		}
		if len(finished) < 3 {
			t.Errorf("the events tell of these finished phases only: %v in\n%s", finished, r.stdout)
		}
		t.Logf("the first up took %.1f s", r.took.Seconds())
	})

	t.Run("the API server is upstream's release", func(t *testing.T) {
		e := e.in(t)
		v, err := e.client().Discovery().ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if v.GitVersion != "v1.37.2" || v.Major != "1" || v.Minor != "37" {
			t.Errorf("it says %s (%s.%s)", v.GitVersion, v.Major, v.Minor)
		}
	})

	t.Run("the example trains on real data", func(t *testing.T) {
		e := e.in(t)
		r := e.studio("run", project)
		acc := regexp.MustCompile(`(?m)^.*accuracy: (0\.\d+|1\.0+)`).FindStringSubmatch(r.stdout)
		if acc == nil {
			t.Fatalf("no line says the accuracy: %s", r)
		}
		if a, err := strconv.ParseFloat(acc[1], 64); err != nil || a < 0.95 {
			t.Errorf("accuracy %s, want at least 0.95", acc[1])
		}
		if n := strings.Count(r.stdout, "epoch="); n < 10 {
			t.Errorf("%d lines of metrics reached the screen", n)
		}
		job, err := e.dynamic().Resource(trainJobs).Namespace("default").Get(context.Background(), "digits", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok := condition(job, "Complete"); !ok {
			t.Errorf("the TrainJob is not Complete: %v", job.Object["status"])
		}
		t.Logf("training took %.1f s, accuracy %s", r.took.Seconds(), acc[1])
	})

	t.Run("the model is in the volume", func(t *testing.T) {
		e := e.in(t)
		var models []string
		err := filepath.WalkDir(e.dir.Volumes(), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == "model.pkl" {
				models = append(models, path)
			}
			return err
		})
		if err != nil || len(models) != 1 {
			t.Fatalf("models below %s: %v (%v)", e.dir.Volumes(), models, err)
		}
		if i, err := os.Stat(models[0]); err != nil || i.Size() < 1000 {
			t.Errorf("%s: %v, %v", models[0], i, err)
		}
	})

	t.Run("a second up does nothing, at once", func(t *testing.T) {
		e := e.in(t)
		before := e.status()
		if r := e.up(); r.took > 2*time.Second {
			t.Errorf("it took %.1f s", r.took.Seconds())
		}
		if after := e.status(); !samePIDs(before, after) {
			t.Errorf("processes before %v, after %v", before.Processes, after.Processes)
		}
	})

	t.Run("a second run trains again", func(t *testing.T) {
		e := e.in(t)
		if r := e.studio("run", project); !strings.Contains(r.stdout, "accuracy: ") {
			t.Error(r)
		}
	})

	t.Run("a resize in place is refused with what to do", func(t *testing.T) {
		e := e.in(t)
		fixed := shell("fixed", "sleep 1000")
		fixed.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
		e.start(fixed)
		e.await("fixed", "running", running)
		patch := []byte(`{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"20m"}}}]}}`)
		pods := e.client().CoreV1().Pods("default")
		_, err := pods.Patch(context.Background(), "fixed", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize")
		if err == nil || !strings.Contains(err.Error(), "delete the pod and create it") {
			t.Errorf("the answer is %v", err)
		}
		if err := pods.Delete(context.Background(), "fixed", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})

	t.Run("stop keeps pods and up finds them again", func(t *testing.T) {
		e := e.in(t)
		e.start(shell("counter", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done"))
		before := e.await("counter", "running", running)
		e.studio("stop")
		if s := e.status(); s.Running {
			t.Errorf("the engine runs after stop: %+v", s)
		}
		if !alive(e.processes(), "studio-shim") {
			t.Error("no shim runs after stop: the pod is gone")
		}
		if alive(e.processes(), "studio-platform") {
			t.Error("the platform runs after stop")
		}
		e.up()
		after := e.await("counter", "running", running)
		if before.UID != after.UID || len(after.Status.ContainerStatuses) != 1 {
			t.Fatalf("another pod: %s", describe(after))
		}
		a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]
		if a.ContainerID != b.ContainerID || b.RestartCount != 0 {
			t.Errorf("the container was restarted: %s, before %s", describe(after), describe(before))
		}
		assertCounts(t, e.logs("counter"))
	})

	t.Run("down leaves nothing that runs, and the data", func(t *testing.T) {
		e := e.in(t)
		e.studio("down")
		e.assertNothingLeft()
		if r := e.try("status", "-o", "json"); strings.Contains(r.stdout, `"running": true`) {
			t.Error(r)
		}
		r := e.up()
		t.Logf("up on the data of before took %.1f s", r.took.Seconds())
		if _, err := e.client().CoreV1().PersistentVolumeClaims("default").Get(context.Background(), "digits-model", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})

	t.Run("delete removes everything", func(t *testing.T) {
		e := e.in(t)
		e.studio("delete", "--yes")
		if entries, err := os.ReadDir(e.dir.String()); err == nil && len(entries) > 0 {
			t.Errorf("the data directory holds %v", entries)
		}
		e.assertNothingLeft()
	})
}

// project copies an example to where tests may write.
func (e *engine) project(name string) string {
	e.t.Helper()
	folder := filepath.Join(tempFolder(e.t), name)
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(e.root, "examples", name))); err != nil {
		e.t.Fatal(err)
	}
	return folder
}

func samePIDs(a, b localcluster.Status) bool {
	pids := func(s localcluster.Status) map[string]int {
		m := map[string]int{}
		for _, p := range s.Processes {
			m[p.Name] = p.PID
		}
		return m
	}
	was, is := pids(a), pids(b)
	if len(was) == 0 || len(was) != len(is) {
		return false
	}
	for name, pid := range was {
		if is[name] != pid {
			return false
		}
	}
	return true
}

func alive(ps []proc.Process, name string) bool {
	for _, p := range ps {
		if p.Name == name {
			return true
		}
	}
	return false
}

// assertCounts: "line 1", "line 2" and so on, without a gap.
func assertCounts(t *testing.T, log string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for i, line := range lines {
		if want := "line " + strconv.Itoa(i+1); line != want {
			t.Fatalf("line %d of the log is %q, want %q", i+1, line, want)
		}
	}
	if len(lines) < 5 {
		t.Errorf("the log has %d lines", len(lines))
	}
}
