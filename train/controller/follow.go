package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/platform/runnable"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// reasonNodeRestarted is how the embedded node marks containers that ended
// because the node did.
const reasonNodeRestarted = "NodeRestarted"

// follow looks at the pods: it tells restarts, remembers the first failure, keeps
// Kubernetes' retries to those that make sense, and gives up where a container
// can never start.
func (r *reconciler) follow(ctx context.Context, tj *v1alpha1.TrainJob, js *jobsetv1alpha2.JobSet) error {
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, client.InNamespace(tj.Namespace), childOf(js.Name)); err != nil {
		return fmt.Errorf("listing the pods: %w", err)
	}
	mine := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.Labels[jobsetv1alpha2.JobSetUIDKey] != string(js.UID) })
	r.memory.remember(tj, runnable.FirstFailure(mine))
	for i := range mine {
		if lostWithNode(&mine[i]) && r.memory.newRestart(tj, mine[i].UID, "", 1) {
			r.events.Eventf(tj, corev1.EventTypeWarning, eventPodLost, "pod %s was lost when its node restarted; another takes its place", mine[i].Name)
		}
		for _, c := range restarted(&mine[i]) {
			if r.memory.newRestart(tj, mine[i].UID, c.Name, c.RestartCount) {
				r.events.Eventf(tj, corev1.EventTypeWarning, eventRestarted, "restart %d: %s", c.RestartCount, lastEnd(mine[i], c))
			}
		}
	}
	if why := neverStarts(mine); why != "" {
		setFailed(tj, v1alpha1.ReasonCannotStart, why)
		return nil
	}
	return r.limitRetries(ctx, js, mine)
}

// neverStarts says which container can not even be made, in a way that the kubelet
// would try again for ever; empty if none.
func neverStarts(pods []corev1.Pod) string {
	for i := range pods {
		for _, c := range statuses(&pods[i]) {
			w := c.State.Waiting
			if w == nil {
				continue
			}
			// Container runtimes have no reason of their own for this, only words.
			noCommand := w.Reason == "CreateContainerError" && strings.Contains(w.Message, "no command")
			if noCommand || w.Reason == "InvalidImageName" {
				return fmt.Sprintf("container %s of pod %s can not start: %s: %s", c.Name, pods[i].Name, w.Reason, w.Message)
			}
		}
	}
	return ""
}

// limitRetries corrects the Jobs' number of retries: none for a command that can
// not be started, one more for each pod that was lost with its node.
func (r *reconciler) limitRetries(ctx context.Context, js *jobsetv1alpha2.JobSet, pods []corev1.Pod) error {
	var jobs batchv1.JobList
	if err := r.client.List(ctx, &jobs, client.InNamespace(js.Namespace), childOf(js.Name)); err != nil {
		return fmt.Errorf("listing the Jobs: %w", err)
	}
	for i := range jobs.Items {
		job := &jobs.Items[i]
		if !controls(js, job) || job.Spec.BackoffLimit == nil || ended(job) {
			continue
		}
		limit := retries(templateLimit(js, job), job, pods)
		if limit == *job.Spec.BackoffLimit {
			continue
		}
		was := client.MergeFrom(job.DeepCopy())
		job.Spec.BackoffLimit = &limit
		if err := r.client.Patch(ctx, job, was, fieldOwner); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("limiting the retries of Job %s: %w", job.Name, err)
		}
	}
	return nil
}

// retries is how often the Job may try again, given what the template allows.
func retries(template int32, job *batchv1.Job, pods []corev1.Pod) int32 {
	lost := int32(0)
	for i := range pods {
		if !controls(job, &pods[i]) {
			continue
		}
		if hopeless(&pods[i]) {
			return 0
		}
		if lostWithNode(&pods[i]) {
			lost++
		}
	}
	return template + lost
}

// templateLimit is what the JobSet says of the Job, or Kubernetes' default.
func templateLimit(js *jobsetv1alpha2.JobSet, job *batchv1.Job) int32 {
	for _, r := range js.Spec.ReplicatedJobs {
		if r.Name == job.Labels[jobsetv1alpha2.ReplicatedJobNameKey] && r.Template.Spec.BackoffLimit != nil {
			return *r.Template.Spec.BackoffLimit
		}
	}
	return 6
}

// hopeless: the command of a container could not be started, so trying again
// would only hide why.
func hopeless(p *corev1.Pod) bool {
	return slices.ContainsFunc(statuses(p), func(c corev1.ContainerStatus) bool {
		return slices.ContainsFunc(terminations(c), func(t *corev1.ContainerStateTerminated) bool {
			return t.Reason == "StartError" || t.Reason == "ContainerCannotRun"
		})
	})
}

func lostWithNode(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed && slices.ContainsFunc(statuses(p), func(c corev1.ContainerStatus) bool {
		return c.State.Terminated != nil && c.State.Terminated.Reason == reasonNodeRestarted
	})
}

// restarted are the containers that failed and were started again; sidecars and
// containers that ended well are not worth a word.
func restarted(p *corev1.Pod) []corev1.ContainerStatus {
	return slices.DeleteFunc(statuses(p), func(c corev1.ContainerStatus) bool {
		return c.RestartCount == 0 || c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.ExitCode == 0
	})
}

// lastEnd says how the container ended before it was restarted.
func lastEnd(p corev1.Pod, c corev1.ContainerStatus) string {
	c.State = corev1.ContainerState{}
	p.Status = corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c}}
	return runnable.FirstFailure([]corev1.Pod{p})
}

func terminations(c corev1.ContainerStatus) []*corev1.ContainerStateTerminated {
	return slices.DeleteFunc([]*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated},
		func(t *corev1.ContainerStateTerminated) bool { return t == nil })
}

func statuses(p *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
}

func ended(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed || c.Type == batchv1.JobFailureTarget)
	})
}
