package runnable

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Builtin are the runnables of Kubernetes' own kinds.
func Builtin() []Runnable { return []Runnable{job{}, pod{}} }

// ByLabel selects the pods that carry all of the given labels.
func ByLabel(want map[string]string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: labels.SelectorFromSet(want).String()}
}

// Unreadable is the outcome of an object that does not decode as its kind.
func Unreadable(obj *unstructured.Unstructured, err error) Outcome {
	return Outcome{State: Failed, Reason: fmt.Sprintf("%s %s can not be read: %v", obj.GetKind(), obj.GetName(), err)}
}

type job struct{}

func (job) GVK() schema.GroupVersionKind { return batchv1.SchemeGroupVersion.WithKind("Job") }

func (job) Pods(obj *unstructured.Unstructured) metav1.ListOptions {
	return ByLabel(map[string]string{batchv1.JobNameLabel: obj.GetName()})
}

func (job) Outcome(obj *unstructured.Unstructured, pods []corev1.Pod) Outcome {
	var j batchv1.Job
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &j); err != nil {
		return Unreadable(obj, err)
	}
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return Outcome{State: Succeeded, Restarts: Restarts(pods)}
		case batchv1.JobFailed:
			return Ended(pods, fmt.Sprintf("%s: %s", c.Reason, c.Message))
		case batchv1.JobSuspended:
			return Outcome{State: Suspended, Reason: "the Job is suspended; set spec.suspend to false to go on"}
		}
	}
	return FromPods(pods)
}

type pod struct{}

func (pod) GVK() schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind("Pod") }

func (pod) Pods(obj *unstructured.Unstructured) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", obj.GetName()).String()}
}

func (pod) Outcome(obj *unstructured.Unstructured, _ []corev1.Pod) Outcome {
	var p corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &p); err != nil {
		return Unreadable(obj, err)
	}
	pods := []corev1.Pod{p}
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		return Outcome{State: Succeeded, Restarts: Restarts(pods)}
	case corev1.PodFailed:
		return Ended(pods, p.Status.Message)
	}
	return FromPods(pods)
}
