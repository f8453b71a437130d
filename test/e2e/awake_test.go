//go:build e2e

package e2e

import (
	"context"
	"os"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mlstudio/studio/test/logind"
)

// While a Job runs the machine is kept awake, unless its user said otherwise.
func TestLimitsAwake(t *testing.T) {
	bus := logind.Start(t)
	e := newEngine(t)
	e.env = append(e.env, "DBUS_SYSTEM_BUS_ADDRESS="+bus.Address)
	e.up()
	locks := func(what string, n int) {
		t.Helper()
		e.eventually(what, func(context.Context) (bool, error) { return len(bus.Held()) == n, nil }, func() string { return strings.Join(bus.Held(), ", ") })
	}
	locks("no lock while nothing runs", 0)
	pod := shell("", "sleep 600").Spec
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "long"}, Spec: batchv1.JobSpec{}}
	job.Spec.Template.Spec = pod
	e.eventually("creating the job", func(ctx context.Context) (bool, error) {
		_, err := e.client().BatchV1().Jobs("default").Create(ctx, job, metav1.CreateOptions{})
		return err == nil, err
	})
	locks("a lock while the job runs", 1)
	e.studio("up", "--inhibit-sleep=off")
	locks("no lock when it is switched off", 0)
	e.studio("up", "--inhibit-sleep")
	locks("a lock again", 1)
	background := metav1.DeletePropagationBackground
	if err := e.client().BatchV1().Jobs("default").Delete(t.Context(), "long", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	locks("no lock when the job is gone", 0)
}

// Without systemd nothing is started at log-in, and it is said before anything starts.
func TestLimitsAtLogin(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		t.Skip("SKIPPED: systemd runs here")
	}
	e := newEngine(t)
	if r := e.try("up", "--at-login"); r.code == 0 || !strings.Contains(r.stderr, "no systemd runs for this user") || !strings.Contains(r.stderr, "profile") {
		t.Errorf("%s", r)
	}
	if r := e.try("up", "--at-login=maybe"); r.code == 0 || !strings.Contains(r.stderr, "want on or off") {
		t.Errorf("%s", r)
	}
	if s := e.status(); s.Running {
		t.Error("the engine was started")
	}
}
