package runnable

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// lastLines is how many lines of a container's last words a reason carries.
const lastLines = 5

// Restarts sums the container restarts of the pods.
func Restarts(pods []corev1.Pod) int32 {
	var n int32
	for i := range pods {
		for _, c := range statuses(&pods[i]) {
			n += c.RestartCount
		}
	}
	return n
}

// FromPods judges an object that has not ended itself by its pods alone.
func FromPods(pods []corev1.Pod) Outcome {
	o := Outcome{State: Waiting, Reason: "no pod has been made yet", Restarts: Restarts(pods)}
	for i := range pods {
		switch pods[i].Status.Phase {
		case corev1.PodRunning, corev1.PodSucceeded:
			o.State = Running
		}
	}
	if why := firstWait(pods); why != "" || len(pods) > 0 {
		o.Reason = why
	}
	return o
}

// Ended is the outcome of an object that failed: what its kind says, then what
// its first failing pod says.
func Ended(pods []corev1.Pod, why string) Outcome {
	parts := []string{}
	if why = strings.Trim(why, ": "); why != "" {
		parts = append(parts, why)
	}
	if first := FirstFailure(pods); first != "" {
		parts = append(parts, first)
	}
	return Outcome{State: Failed, Reason: strings.Join(parts, "; "), Restarts: Restarts(pods)}
}

// FirstFailure says which container failed first, how, and its last words; empty
// when none has failed.
func FirstFailure(pods []corev1.Pod) string {
	type failure struct {
		at   int64
		text string
	}
	var all []failure
	for i := range pods {
		p := &pods[i]
		found := false
		for _, c := range statuses(p) {
			for _, t := range []*corev1.ContainerStateTerminated{c.LastTerminationState.Terminated, c.State.Terminated} {
				if t == nil || t.ExitCode == 0 {
					continue
				}
				found = true
				all = append(all, failure{t.FinishedAt.Unix(), fmt.Sprintf("container %s of pod %s %s", c.Name, p.Name, ended(t))})
			}
			if w := c.State.Waiting; w != nil && hopeless(w.Reason) {
				found = true
				all = append(all, failure{p.CreationTimestamp.Unix(), fmt.Sprintf("container %s of pod %s can not start: %s", c.Name, p.Name, words(w.Reason, w.Message))})
			}
		}
		if !found && p.Status.Phase == corev1.PodFailed {
			all = append(all, failure{p.CreationTimestamp.Unix(), fmt.Sprintf("pod %s failed: %s", p.Name, words(p.Status.Reason, p.Status.Message))})
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MinFunc(all, func(a, b failure) int { return int(a.at - b.at) }).text
}

// firstWait says what the first pod that does not run waits for.
func firstWait(pods []corev1.Pod) string {
	for i := range pods {
		p := &pods[i]
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				return fmt.Sprintf("pod %s is not scheduled: %s", p.Name, words(c.Reason, c.Message))
			}
		}
		for _, c := range statuses(p) {
			if w := c.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
				return fmt.Sprintf("container %s of pod %s waits: %s", c.Name, p.Name, words(w.Reason, w.Message))
			}
		}
	}
	return ""
}

// Waiting reasons of a container that a retry will not mend.
func hopeless(reason string) bool {
	switch reason {
	case "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return true
	}
	return false
}

func ended(t *corev1.ContainerStateTerminated) string {
	s := fmt.Sprintf("exited with code %d", t.ExitCode)
	if t.Signal != 0 {
		s = fmt.Sprintf("was ended by signal %d", t.Signal)
	}
	if t.Reason != "" && t.Reason != "Error" {
		s += " (" + t.Reason + ")"
	}
	if tail := lastOf(t.Message); tail != "" {
		s += ": " + tail
	}
	return s
}

func lastOf(message string) string {
	lines := strings.Split(strings.TrimSpace(message), "\n")
	if len(lines) > lastLines {
		lines = lines[len(lines)-lastLines:]
	}
	return strings.Join(lines, "\n")
}

func words(reason, message string) string {
	switch {
	case message == "":
		return reason
	case reason == "":
		return message
	}
	return reason + ": " + message
}

func statuses(p *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
}
