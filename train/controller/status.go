package controller

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// takeStatus copies how the JobSet stands. The list of conditions stays empty
// while a TrainJob waits and runs, as clients need it.
func takeStatus(tj *v1alpha1.TrainJob, js *jobsetv1alpha2.JobSet, firstFailure string) {
	tj.Status.JobsStatus = jobsStatus(tj.Status.JobsStatus, js)
	switch {
	case suspended(tj):
		set(tj, v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended, "TrainJob is suspended")
	case meta.IsStatusConditionTrue(tj.Status.Conditions, v1alpha1.ConditionSuspended):
		set(tj, v1alpha1.ConditionSuspended, metav1.ConditionFalse, v1alpha1.ReasonResumed, "TrainJob is resumed")
	}
	if c := meta.FindStatusCondition(js.Status.Conditions, string(jobsetv1alpha2.JobSetCompleted)); c != nil && c.Status == metav1.ConditionTrue {
		set(tj, v1alpha1.ConditionComplete, metav1.ConditionTrue, c.Reason, c.Message)
	}
	if c := meta.FindStatusCondition(js.Status.Conditions, string(jobsetv1alpha2.JobSetFailed)); c != nil && c.Status == metav1.ConditionTrue {
		message := c.Message
		if firstFailure != "" {
			// Upstream's text names a Job; the cause lies in a pod.
			message += "; " + firstFailure
		}
		setFailed(tj, c.Reason, message)
	}
}

// jobsStatus lists the replicated jobs in the order of the JobSet's spec. Those
// that it has not counted yet keep what is known.
func jobsStatus(known []v1alpha1.JobStatus, js *jobsetv1alpha2.JobSet) []v1alpha1.JobStatus {
	counted := map[string]v1alpha1.JobStatus{}
	for _, s := range known {
		counted[s.Name] = s
	}
	for _, s := range js.Status.ReplicatedJobsStatus {
		counted[s.Name] = v1alpha1.JobStatus{Name: s.Name, Ready: s.Ready, Succeeded: s.Succeeded, Failed: s.Failed, Active: s.Active, Suspended: s.Suspended}
	}
	var list []v1alpha1.JobStatus
	for _, r := range js.Spec.ReplicatedJobs {
		if s, ok := counted[r.Name]; ok {
			list = append(list, s)
		}
	}
	return list
}

func setFailed(tj *v1alpha1.TrainJob, reason, message string) {
	set(tj, v1alpha1.ConditionFailed, metav1.ConditionTrue, reason, message)
}

// maxMessage is what the API allows.
const maxMessage = 32768

func set(tj *v1alpha1.TrainJob, kind string, status metav1.ConditionStatus, reason, message string) {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	meta.SetStatusCondition(&tj.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: tj.Generation,
	})
}

// announce says as Events what the status says since before.
func (r *reconciler) announce(tj *v1alpha1.TrainJob, before *v1alpha1.TrainJobStatus) {
	for _, c := range tj.Status.Conditions {
		old := meta.FindStatusCondition(before.Conditions, c.Type)
		if old != nil && old.Status == c.Status {
			continue
		}
		severity := corev1.EventTypeNormal
		if c.Type == v1alpha1.ConditionFailed {
			severity = corev1.EventTypeWarning
		}
		r.events.Event(tj, severity, c.Reason, c.Message)
	}
}
