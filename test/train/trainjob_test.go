package train

import (
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/test/upstream"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

func shape(t *testing.T, name string) string {
	return filepath.Join(upstream.Dir(t, "trainer", "examples", "v2"), name)
}

func TestTorchEnvProbe(t *testing.T) {
	f := setup(t)
	f.mustApplyFile(shape(t, "shapes/torch-env-probe.yaml"))
	pods := f.pods("torch-env-probe", 2)
	for i, p := range pods {
		env := map[string]string{}
		for _, v := range p.Spec.Containers[0].Env {
			env[v.Name] = v.Value
		}
		if env["PET_NNODES"] != "2" || env["PET_NPROC_PER_NODE"] != "3" || env["PET_MASTER_ADDR"] != "torch-env-probe-node-0-0.torch-env-probe" || env["PET_MASTER_PORT"] != "29500" {
			t.Errorf("pod %d: environment %v", i, env)
		}
		if want := "torch-env-probe-node-0-" + string(rune('0'+i)); p.Spec.Hostname != want || p.Spec.Subdomain != "torch-env-probe" {
			t.Errorf("pod %d: host %s.%s, want %s", i, p.Spec.Hostname, p.Spec.Subdomain, want)
		}
		for _, label := range []string{jobsetv1alpha2.JobSetNameKey, jobsetv1alpha2.ReplicatedJobNameKey, batchv1.JobCompletionIndexAnnotation} {
			if p.Labels[label] == "" {
				t.Errorf("pod %d has no label %s", i, label)
			}
		}
		f.runs(p)
	}
	tj := f.trainJob("torch-env-probe", "to be ready", func(tj *v1alpha1.TrainJob) bool {
		return len(tj.Status.JobsStatus) == 1 && tj.Status.JobsStatus[0].Ready == 1
	})
	if len(tj.Status.Conditions) != 0 {
		t.Errorf("a running TrainJob has conditions %v: SDKs then miss that it runs", tj.Status.Conditions)
	}
	for _, p := range pods {
		f.exits(p, 0, "Completed", "")
	}
	tj = f.ends("torch-env-probe", "Complete", "AllJobsCompleted")
	if got := tj.Status.Conditions[0].Message; got != "jobset completed successfully" {
		t.Errorf("message %q", got)
	}
	if s := tj.Status.JobsStatus[0]; s.Name != "node" || s.Succeeded != 1 || s.Active != 0 {
		t.Errorf("jobsStatus %+v", s)
	}
}

func TestPlainFailing(t *testing.T) {
	f := setup(t)
	f.mustApplyFile(shape(t, "shapes/plain-failing.yaml"))
	f.exits(f.pods("plain-failing", 2)[0], 3, "Error", "attempt")
	f.exits(f.pods("plain-failing", 2)[0], 3, "Error", "attempt")
	tj := f.ends("plain-failing", "Failed", "ReachedMaxRestarts")
	for _, want := range []string{"jobset failed due to reaching max number of restarts (first failed job: plain-failing-node-0)", "exited with code 3", "attempt"} {
		if got := tj.Status.Conditions[0].Message; !strings.Contains(got, want) {
			t.Errorf("message %q lacks %q", got, want)
		}
	}
	js := &jobsetv1alpha2.JobSet{}
	if err := f.Get(f.ctx, client.ObjectKey{Namespace: f.ns, Name: "plain-failing"}, js); err != nil {
		t.Fatal(err)
	}
	if js.Labels["from-runtime"] != "yes" || js.Status.Restarts != 1 {
		t.Errorf("JobSet labels %v, restarts %d", js.Labels, js.Status.Restarts)
	}
}

func TestSuspendAndResume(t *testing.T) {
	f := setup(t)
	f.mustApplyFile(shape(t, "shapes/suspended.yaml"))
	tj := f.trainJob("suspended", "to be suspended", func(tj *v1alpha1.TrainJob) bool {
		return meta.IsStatusConditionTrue(tj.Status.Conditions, "Suspended")
	})
	if c := tj.Status.Conditions[0]; c.Reason != "Suspended" || c.Message != "TrainJob is suspended" {
		t.Errorf("condition %+v", c)
	}
	var pods corev1.PodList
	if err := f.List(f.ctx, &pods, client.InNamespace(f.ns)); err != nil || len(pods.Items) != 0 {
		t.Errorf("%d pods of a suspended TrainJob, %v", len(pods.Items), err)
	}
	f.suspend(tj, false)
	for _, p := range f.pods("suspended", 2) {
		f.exits(p, 0, "Completed", "")
	}
	tj = f.ends("suspended", "Complete", "AllJobsCompleted")
	c := meta.FindStatusCondition(tj.Status.Conditions, "Suspended")
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != "Resumed" || c.Message != "TrainJob is resumed" {
		t.Errorf("condition %+v", c)
	}
	if last := tj.Status.Conditions[len(tj.Status.Conditions)-1].Type; last != "Complete" {
		t.Errorf("the last condition, which kubectl shows, is %s", last)
	}
}

func (f *fixture) suspend(tj *v1alpha1.TrainJob, on bool) {
	f.Helper()
	was := client.MergeFrom(tj.DeepCopy())
	tj.Spec.Suspend = &on
	if err := f.Patch(f.ctx, tj, was); err != nil {
		f.Fatal(err)
	}
}

func TestDeadline(t *testing.T) {
	f := setup(t)
	f.mustApply(`
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: late}
spec: {activeDeadlineSeconds: 2, runtimeRef: {name: torch-distributed}, trainer: {command: [sleep, "600"]}}
`)
	f.runs(f.pods("late", 1)[0])
	tj := f.ends("late", "Failed", "DeadlineExceeded")
	if got := tj.Status.Conditions[0].Message; got != "TrainJob exceeded its active deadline" {
		t.Errorf("message %q", got)
	}
	f.goes(&jobsetv1alpha2.JobSetList{}, "late")
}

// goes waits until the named object is gone.
func (f *fixture) goes(list client.ObjectList, name string) {
	f.Helper()
	w, err := f.Watch(f.ctx, list, client.InNamespace(f.ns))
	if err != nil {
		f.Fatal(err)
	}
	defer w.Stop()
	if err := f.List(f.ctx, list, client.InNamespace(f.ns)); err != nil {
		f.Fatal(err)
	}
	there := false
	_ = meta.EachListItem(list, func(o runtimeObject) error {
		there = there || o.(client.Object).GetName() == name
		return nil
	})
	for there {
		e, open := <-w.ResultChan()
		if !open {
			f.Fatalf("the watch ended before %s was gone", name)
		}
		if o, is := e.Object.(client.Object); is && o.GetName() == name && e.Type == "DELETED" {
			return
		}
	}
}

func TestDeletionCascades(t *testing.T) {
	f := setup(t)
	f.mustApply(simple("gone"))
	f.pods("gone", 1)
	tj := &v1alpha1.TrainJob{ObjectMeta: metav1.ObjectMeta{Name: "gone", Namespace: f.ns}}
	if err := f.Delete(f.ctx, tj); err != nil {
		t.Fatal(err)
	}
	f.goes(&jobsetv1alpha2.JobSetList{}, "gone")
	f.goes(&corev1.ConfigMapList{}, "gone-runtime-snapshot")
	f.goes(&batchv1.JobList{}, "gone-node-0")
}

func TestANamesakeStartsAnew(t *testing.T) {
	f := setup(t)
	for range 3 {
		f.mustApply(simple("again"))
		pod := f.pods("again", 1)[0]
		tj := &v1alpha1.TrainJob{ObjectMeta: metav1.ObjectMeta{Name: "again", Namespace: f.ns}}
		if err := f.Delete(f.ctx, tj); err != nil {
			t.Fatal(err)
		}
		// Its pod may be there for a while; only the next one's counts below.
		f.goes(&corev1.PodList{}, pod.Name)
	}
	var events corev1.EventList
	if err := f.List(f.ctx, &events, client.InNamespace(f.ns)); err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Type == corev1.EventTypeWarning && e.InvolvedObject.Kind == "TrainJob" {
			t.Errorf("Event %s: %s", e.Reason, e.Message)
		}
	}
}

// simple is a TrainJob on the shipped torch runtime.
func simple(name string) string {
	return `
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: ` + name + `}
spec: {runtimeRef: {name: torch-distributed}, trainer: {command: [python, train.py]}}
`
}

func TestAProgramThatFailsEndsTheTrainJobAtOnce(t *testing.T) {
	f := setup(t)
	f.mustApply(simple("fails"))
	pod := f.pods("fails", 1)[0]
	f.exits(pod, 1, "Error", "Traceback\nValueError: no")
	tj := f.ends("fails", "Failed", "FailedJobs")
	for _, want := range []string{"jobset failed due to one or more job failures (first failed job: fails-node-0)", "exited with code 1", "ValueError: no"} {
		if got := tj.Status.Conditions[0].Message; !strings.Contains(got, want) {
			t.Errorf("message %q lacks %q", got, want)
		}
	}
	// Its pod stays, and with it the log.
	if err := f.Get(f.ctx, client.ObjectKeyFromObject(pod), pod); err != nil || pod.DeletionTimestamp != nil {
		t.Errorf("the failed pod is gone: %v", err)
	}
}

func TestALostNodeRestartsTraining(t *testing.T) {
	f := setup(t)
	f.mustApply(simple("lost"))
	f.exits(f.pods("lost", 1)[0], 137, "NodeRestarted", "")
	// The loss is not counted among the Job's retries.
	f.await(&batchv1.JobList{}, "one retry more", func(o client.Object) bool {
		j := o.(*batchv1.Job)
		return j.Name == "lost-node-0" && *j.Spec.BackoffLimit == 4
	})
	f.event("TrainJob", "lost", "was lost when its node restarted")
	f.exits(f.pods("lost", 1)[0], 0, "Completed", "")
	f.ends("lost", "Complete", "AllJobsCompleted")
}

func TestACommandThatDoesNotExistIsNotTriedAgain(t *testing.T) {
	f := setup(t)
	// A runtime like upstream's: restartPolicy OnFailure and six retries.
	f.mustApply(runtimeOf("retrying", "", "") + simpleOn("nocommand", "retrying"))
	pod := f.pods("nocommand", 1)[0]
	end := terminated(127, "ContainerCannotRun", `exec: "pyton": not found`)
	f.kubelet(pod, corev1.PodRunning, corev1.ContainerStatus{RestartCount: 1,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: end}})
	tj := f.ends("nocommand", "Failed", "FailedJobs")
	if got := tj.Status.Conditions[0].Message; !strings.Contains(got, `exec: "pyton": not found`) {
		t.Errorf("message %q does not say what failed", got)
	}
}

func TestRestartsAreToldWithTheFirstFailure(t *testing.T) {
	f := setup(t)
	f.mustApply(runtimeOf("retrying", "", "") + simpleOn("restarts", "retrying"))
	pod := f.pods("restarts", 1)[0]
	f.kubelet(pod, corev1.PodRunning, corev1.ContainerStatus{RestartCount: 1, Ready: true,
		State:                corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		LastTerminationState: corev1.ContainerState{Terminated: terminated(1, "Error", "SyntaxError: invalid syntax")}})
	e := f.event("TrainJob", "restarts", "SyntaxError: invalid syntax")
	if e.Type != corev1.EventTypeWarning || !strings.Contains(e.Message, "restart 1") {
		t.Errorf("Event %s %q", e.Type, e.Message)
	}
	f.exits(pod, 0, "Completed", "")
	f.ends("restarts", "Complete", "AllJobsCompleted")
}

func TestManagedByAnotherIsLeftAlone(t *testing.T) {
	f := setup(t)
	f.mustApply(strings.Replace(simple("elsewhere"), "spec: {", "spec: {managedBy: kueue.x-k8s.io/multikueue, ", 1) + "---" + simple("here"))
	f.pods("here", 1)
	err := f.Get(f.ctx, client.ObjectKey{Namespace: f.ns, Name: "elsewhere"}, &jobsetv1alpha2.JobSet{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("a JobSet was made for it: %v", err)
	}
}

func TestAContainerWithoutACommandFailsTheTrainJob(t *testing.T) {
	f := setup(t)
	f.mustApply(strings.Replace(simple("silent"), "trainer: {command: [python, train.py]}", "trainer: {}", 1))
	pod := f.pods("silent", 1)[0]
	f.kubelet(pod, corev1.PodPending, corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason: "CreateContainerError", Message: "container node names no command: set command in the pod"}}})
	tj := f.ends("silent", "Failed", "CanNotStart")
	if got := tj.Status.Conditions[0].Message; !strings.Contains(got, "set command in the pod") {
		t.Errorf("message %q", got)
	}
	f.goes(&jobsetv1alpha2.JobSetList{}, "silent")
}
