package runnable

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func object(t *testing.T, o any) *unstructured.Unstructured {
	t.Helper()
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: u}
}

func podWith(phase corev1.PodPhase, statuses ...corev1.ContainerStatus) corev1.Pod {
	return corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Status: corev1.PodStatus{Phase: phase, ContainerStatuses: statuses},
	}
}

func exited(name string, code int32, reason, message string, at int64) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, Message: message, FinishedAt: metav1.NewTime(time.Unix(at, 0)),
	}}}
}

func waiting(name, reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func jobWith(conditions ...batchv1.JobCondition) *batchv1.Job {
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: metav1.ObjectMeta{Name: "j"},
		Status: batchv1.JobStatus{Conditions: conditions},
	}
}

func TestOutcome(t *testing.T) {
	yes := corev1.ConditionTrue
	unscheduled := podWith(corev1.PodPending)
	unscheduled.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no GPU"}}
	restarted := podWith(corev1.PodRunning, corev1.ContainerStatus{Name: "c", RestartCount: 2})
	evicted := podWith(corev1.PodFailed)
	evicted.Status.Reason, evicted.Status.Message = "Evicted", "the disk is full"

	for name, c := range map[string]struct {
		object any
		pods   []corev1.Pod
		want   Outcome
	}{
		"job without pods": {jobWith(), nil, Outcome{State: Waiting, Reason: "no pod has been made yet"}},
		"job not scheduled": {jobWith(), []corev1.Pod{unscheduled},
			Outcome{State: Waiting, Reason: "pod p is not scheduled: Unschedulable: no GPU"}},
		"job pulling": {jobWith(), []corev1.Pod{podWith(corev1.PodPending, waiting("c", "ErrImagePull", "no such image"))},
			Outcome{State: Waiting, Reason: "container c of pod p waits: ErrImagePull: no such image"}},
		"job starting":  {jobWith(), []corev1.Pod{podWith(corev1.PodPending, waiting("c", "ContainerCreating", ""))}, Outcome{State: Waiting}},
		"job running":   {jobWith(), []corev1.Pod{restarted}, Outcome{State: Running, Restarts: 2}},
		"job suspended": {jobWith(batchv1.JobCondition{Type: batchv1.JobSuspended, Status: yes}), nil, Outcome{State: Suspended, Reason: "the Job is suspended; set spec.suspend to false to go on"}},
		"job complete":  {jobWith(batchv1.JobCondition{Type: batchv1.JobComplete, Status: yes}), nil, Outcome{State: Succeeded}},
		"job failed": {jobWith(batchv1.JobCondition{Type: batchv1.JobFailed, Status: yes, Reason: "BackoffLimitExceeded", Message: "too often"}),
			[]corev1.Pod{podWith(corev1.PodFailed, exited("late", 2, "Error", "", 20), exited("early", 1, "Error", "a\nb\nc\nd\ne\nf\n", 10), exited("fine", 0, "Completed", "", 1))},
			Outcome{State: Failed, Reason: "BackoffLimitExceeded: too often; container early of pod p exited with code 1: b\nc\nd\ne\nf"}},
		"job failed without pods": {jobWith(batchv1.JobCondition{Type: batchv1.JobFailed, Status: yes, Reason: "DeadlineExceeded"}), nil,
			Outcome{State: Failed, Reason: "DeadlineExceeded"}},
		"pod done":          {new(podWith(corev1.PodSucceeded)), nil, Outcome{State: Succeeded}},
		"pod evicted":       {&evicted, nil, Outcome{State: Failed, Reason: "the disk is full; pod p failed: Evicted: the disk is full"}},
		"pod out of memory": {new(podWith(corev1.PodFailed, exited("c", 137, "OOMKilled", "", 1))), nil, Outcome{State: Failed, Reason: "container c of pod p exited with code 137 (OOMKilled)"}},
		"pod never starts": {new(podWith(corev1.PodPending, waiting("c", "CreateContainerError", "no command"))), nil,
			Outcome{State: Waiting, Reason: "container c of pod p waits: CreateContainerError: no command"}},
	} {
		t.Run(name, func(t *testing.T) {
			u := object(t, c.object)
			r, ok := NewSet(Builtin()).For(u)
			if !ok {
				t.Fatalf("nothing follows %s", u.GetKind())
			}
			if got := r.Outcome(u, c.pods); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestPodsOfAJobAndOfAPod(t *testing.T) {
	set := NewSet(Builtin())
	for _, c := range []struct {
		object any
		want   string
	}{
		{jobWith(), "batch.kubernetes.io/job-name=j,"},
		{new(podWith("")), ",metadata.name=p"},
	} {
		u := object(t, c.object)
		r, _ := set.For(u)
		o := r.Pods(u)
		if got := o.LabelSelector + "," + o.FieldSelector; got != c.want {
			t.Errorf("%s: got %q, want %q", u.GetKind(), got, c.want)
		}
	}
}

func TestOtherKindsDoNotRun(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	if r, ok := NewSet(Builtin()).For(u); ok {
		t.Errorf("%T follows a ConfigMap", r)
	}
}

func TestAnObjectThatDoesNotDecodeFails(t *testing.T) {
	u := object(t, jobWith())
	u.Object["status"] = "broken"
	r, _ := NewSet(Builtin()).For(u)
	if o := r.Outcome(u, nil); o.OK() || !o.Done() || !strings.Contains(o.Reason, "Job j can not be read") {
		t.Errorf("got %+v", o)
	}
}
