package follow

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// objects lists and watches the followed object alone.
func (f *follower) objects() listWatch {
	name := fields.OneTermEqualSelector(metav1.ObjectNameField, f.object.GetName()).String()
	return listWatch{
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = name
			return f.Resource.List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = name
			return f.Resource.Watch(ctx, o)
		}}
}

func (f *follower) podsOf() listWatch {
	pods, want := f.Core.Pods(f.object.GetNamespace()), f.Runnable.Pods(f.object)
	return listWatch{
		list: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, want) },
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector, o.FieldSelector = want.LabelSelector, want.FieldSelector
			return pods.Watch(ctx, o)
		}}
}

func (f *follower) warnings() listWatch {
	events := f.Core.Events(f.object.GetNamespace())
	const warnings = "type=" + corev1.EventTypeWarning
	return listWatch{
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = warnings
			return events.List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = warnings
			return events.Watch(ctx, o)
		}}
}

// concerns tells whether an event is about the object, its pods, or what its
// controllers made between the two, which bears its name.
func (f *follower) concerns(ref corev1.ObjectReference) bool {
	if ref.UID == f.object.GetUID() || f.pods[ref.UID] != nil {
		return true
	}
	name := f.object.GetName()
	return ref.Name == name || strings.HasPrefix(ref.Name, name+"-")
}
