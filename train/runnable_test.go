package train

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/platform/runnable"
)

func read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestOutcome(t *testing.T) {
	const (
		trainJob = "{apiVersion: trainer.kubeflow.org/v1alpha1, kind: TrainJob, metadata: {name: it}, spec: {runtimeRef: {name: r}%s}, status: {conditions: [%s]}}"
		jobSet   = "{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {name: it}, spec: {%s}, status: {conditions: [%s]}}"
		when     = ", lastTransitionTime: '2026-01-01T00:00:00Z'}"
	)
	running := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	failed := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "node", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}}}}}
	for name, c := range map[string]struct {
		object string
		pods   []corev1.Pod
		want   runnable.Outcome
	}{
		"trainjob new":       {fmt.Sprintf(trainJob, "", ""), nil, runnable.Outcome{State: runnable.Waiting, Reason: "no pod has been made yet"}},
		"trainjob running":   {fmt.Sprintf(trainJob, "", ""), []corev1.Pod{running}, runnable.Outcome{State: runnable.Running}},
		"trainjob suspended": {fmt.Sprintf(trainJob, ", suspend: true", "{type: Suspended, status: 'True'"+when), nil, runnable.Outcome{State: runnable.Suspended, Reason: "it is suspended; set spec.suspend to false to start it"}},
		"trainjob resumed":   {fmt.Sprintf(trainJob, ", suspend: false", "{type: Suspended, status: 'False'"+when), []corev1.Pod{running}, runnable.Outcome{State: runnable.Running}},
		"trainjob elsewhere": {fmt.Sprintf(trainJob, ", managedBy: kueue.x-k8s.io/multikueue", ""), nil, runnable.Outcome{State: runnable.Waiting, Reason: "it is left to kueue.x-k8s.io/multikueue (spec.managedBy), which runs it elsewhere"}},
		"trainjob complete":  {fmt.Sprintf(trainJob, "", "{type: Complete, status: 'True', reason: AllJobsCompleted"+when), nil, runnable.Outcome{State: runnable.Succeeded}},
		"trainjob failed":    {fmt.Sprintf(trainJob, "", "{type: Failed, status: 'True', reason: Invalid, message: too long"+when), nil, runnable.Outcome{State: runnable.Failed, Reason: "Invalid: too long"}},
		"jobset running":     {fmt.Sprintf(jobSet, "", ""), []corev1.Pod{running}, runnable.Outcome{State: runnable.Running}},
		"jobset suspended":   {fmt.Sprintf(jobSet, "suspend: true", ""), nil, runnable.Outcome{State: runnable.Suspended, Reason: "it is suspended; set spec.suspend to false to start it"}},
		"jobset complete":    {fmt.Sprintf(jobSet, "", "{type: Completed, status: 'True'"+when), nil, runnable.Outcome{State: runnable.Succeeded}},
		"jobset failed":      {fmt.Sprintf(jobSet, "", "{type: Failed, status: 'True', reason: FailedJobs, message: first"+when), []corev1.Pod{failed}, runnable.Outcome{State: runnable.Failed, Reason: "FailedJobs: first; container node of pod p exited with code 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			u := read(t, c.object)
			r, ok := runnable.NewSet(Runnables()).For(u)
			if !ok {
				t.Fatal("nothing follows it")
			}
			if got := r.Outcome(u, c.pods); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if got := r.Pods(u).LabelSelector; got != "jobset.sigs.k8s.io/jobset-name=it" {
				t.Errorf("pods: %q", got)
			}
		})
	}
}
