// Package train is the training pillar's face to clients: how to follow its
// objects. Its controllers lie in the folders below.
package train

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/platform/runnable"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// Runnables of this pillar.
func Runnables() []runnable.Runnable { return []runnable.Runnable{trainJob{}, jobSet{}} }

type trainJob struct{}

// GVK is TrainJob's.
func (trainJob) GVK() schema.GroupVersionKind {
	return v1alpha1.GroupVersion.WithKind(v1alpha1.TrainJobKind)
}

// Pods are those of the JobSet of the same name.
func (trainJob) Pods(obj *unstructured.Unstructured) metav1.ListOptions { return ofJobSet(obj) }

// Outcome follows the conditions; there is none before the end.
func (trainJob) Outcome(obj *unstructured.Unstructured, pods []corev1.Pod) runnable.Outcome {
	var tj v1alpha1.TrainJob
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &tj); err != nil {
		return runnable.Unreadable(obj, err)
	}
	conditions := tj.Status.Conditions
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionFailed); isTrue(c) {
		// The controller has put the first failure into the message.
		return runnable.Outcome{State: runnable.Failed, Reason: c.Reason + ": " + c.Message, Restarts: runnable.Restarts(pods)}
	}
	if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionComplete) {
		return runnable.Outcome{State: runnable.Succeeded, Restarts: runnable.Restarts(pods)}
	}
	if tj.Spec.Suspend != nil && *tj.Spec.Suspend {
		return runnable.Outcome{State: runnable.Suspended, Reason: "it is suspended; set spec.suspend to false to start it"}
	}
	if m := tj.Spec.ManagedBy; m != nil && *m != v1alpha1.ManagedByTrainer {
		return runnable.Outcome{State: runnable.Waiting, Reason: fmt.Sprintf("it is left to %s (spec.managedBy), which runs it elsewhere", *m)}
	}
	return runnable.FromPods(pods)
}

type jobSet struct{}

// GVK is JobSet's.
func (jobSet) GVK() schema.GroupVersionKind {
	return jobsetv1alpha2.GroupVersion.WithKind("JobSet")
}

// Pods carry the JobSet's name.
func (jobSet) Pods(obj *unstructured.Unstructured) metav1.ListOptions { return ofJobSet(obj) }

// Outcome follows the conditions.
func (jobSet) Outcome(obj *unstructured.Unstructured, pods []corev1.Pod) runnable.Outcome {
	var js jobsetv1alpha2.JobSet
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &js); err != nil {
		return runnable.Unreadable(obj, err)
	}
	if c := meta.FindStatusCondition(js.Status.Conditions, string(jobsetv1alpha2.JobSetFailed)); isTrue(c) {
		return runnable.Ended(pods, c.Reason+": "+c.Message)
	}
	if meta.IsStatusConditionTrue(js.Status.Conditions, string(jobsetv1alpha2.JobSetCompleted)) {
		return runnable.Outcome{State: runnable.Succeeded, Restarts: runnable.Restarts(pods)}
	}
	if js.Spec.Suspend != nil && *js.Spec.Suspend {
		return runnable.Outcome{State: runnable.Suspended, Reason: "it is suspended; set spec.suspend to false to start it"}
	}
	return runnable.FromPods(pods)
}

func ofJobSet(obj *unstructured.Unstructured) metav1.ListOptions {
	return runnable.ByLabel(map[string]string{jobsetv1alpha2.JobSetNameKey: obj.GetName()})
}

func isTrue(c *metav1.Condition) bool { return c != nil && c.Status == metav1.ConditionTrue }
