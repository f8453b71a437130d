// Package runnable is how a client follows an applied object to its end without
// knowing its kind: which pods are its parts and how it stands. Each pillar
// implements Runnable for its kinds; the built-in kinds that run are here.
//
// Implementations are pure: they judge the object and its pods as last seen by a
// watch, so that one follower serves every kind.
package runnable

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Runnable follows the objects of one kind.
type Runnable interface {
	// GVK is the kind this is about.
	GVK() schema.GroupVersionKind
	// Pods says which pods of the object's namespace are its parts, for a list or
	// a watch. They may not exist yet.
	Pods(obj *unstructured.Unstructured) metav1.ListOptions
	// Outcome judges the object together with its pods.
	Outcome(obj *unstructured.Unstructured, pods []corev1.Pod) Outcome
}

// State is where an object is on its way.
type State string

const (
	// Waiting: nothing of it runs yet; the reason says what it waits for.
	Waiting State = "Waiting"
	// Running: at least one of its pods runs.
	Running State = "Running"
	// Suspended: it was asked to pause.
	Suspended State = "Suspended"
	// Succeeded and Failed are final.
	Succeeded State = "Succeeded"
	Failed    State = "Failed"
)

// Outcome is one judgement.
type Outcome struct {
	State State
	// Reason is one sentence for people; empty when there is nothing to add. For
	// a failure it names the first failing pod and container and what it said last.
	Reason string
	// Restarts counts container restarts over all pods seen.
	Restarts int32
}

// Done tells whether nothing more will happen.
func (o Outcome) Done() bool { return o.State == Succeeded || o.State == Failed }

// OK tells whether it ended well.
func (o Outcome) OK() bool { return o.State == Succeeded }

// Set finds the runnable of a kind.
type Set map[schema.GroupKind]Runnable

// NewSet joins the given runnables; of two for one kind the later wins.
func NewSet(groups ...[]Runnable) Set {
	s := Set{}
	for _, rs := range groups {
		for _, r := range rs {
			s[r.GVK().GroupKind()] = r
		}
	}
	return s
}

// For returns the runnable of the object's kind; false where the kind does not run
// to an end (a ConfigMap, a Service).
func (s Set) For(obj *unstructured.Unstructured) (Runnable, bool) {
	r, ok := s[obj.GroupVersionKind().GroupKind()]
	return r, ok
}
