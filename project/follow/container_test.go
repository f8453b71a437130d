package follow

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func terminated(id string, code int32, at int) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: id, ExitCode: code, FinishedAt: metav1.NewTime(time.Unix(int64(at), 0))}}
}

func TestView(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	for name, c := range map[string]struct {
		phase  corev1.PodPhase
		status corev1.ContainerStatus
		want   instance
	}{
		"not started":   {corev1.PodPending, corev1.ContainerStatus{State: waiting}, instance{}},
		"runs":          {corev1.PodRunning, corev1.ContainerStatus{State: running, ContainerID: "a"}, instance{id: "a"}},
		"restarted":     {corev1.PodRunning, corev1.ContainerStatus{State: running, ContainerID: "b", LastTerminationState: terminated("a", 1, 1)}, instance{id: "b", before: "a"}},
		"waits between": {corev1.PodRunning, corev1.ContainerStatus{State: waiting, LastTerminationState: terminated("a", 1, 1)}, instance{id: "a", ended: true}},
		"over":          {corev1.PodSucceeded, corev1.ContainerStatus{State: terminated("a", 0, 1), ContainerID: "a"}, instance{id: "a", ended: true, final: true}},
	} {
		if got := view(&corev1.Pod{Status: corev1.PodStatus{Phase: c.phase}}, c.status); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestExitCodeIsThatOfTheFirstFailure(t *testing.T) {
	pod := func(states ...corev1.ContainerState) corev1.Pod {
		var p corev1.Pod
		for _, s := range states {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{State: s})
		}
		return p
	}
	for name, c := range map[string]struct {
		pods []corev1.Pod
		want int
	}{
		"none":            {nil, 1},
		"no code":         {[]corev1.Pod{pod(terminated("a", 0, 1))}, 1},
		"the first":       {[]corev1.Pod{pod(terminated("a", 143, 9)), pod(terminated("b", 3, 5), terminated("c", 0, 1))}, 3},
		"too large":       {[]corev1.Pod{pod(terminated("a", 256, 1))}, 1},
		"not found":       {[]corev1.Pod{pod(terminated("a", 127, 1))}, 127},
		"negative, wraps": {[]corev1.Pod{pod(terminated("a", -1, 1))}, 255},
	} {
		if got := exitCode(c.pods); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
