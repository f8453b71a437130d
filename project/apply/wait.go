package apply

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/mlstudio/studio/project/manifests"
)

var namespaceResource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

func isCRD(o manifests.Object) bool {
	return o.GetKind() == "CustomResourceDefinition" && o.GroupVersionKind().Group == "apiextensions.k8s.io"
}

// newKinds are the kinds whose CRDs come with the set.
func newKinds(set *manifests.Set) map[schema.GroupKind]bool {
	kinds := map[schema.GroupKind]bool{}
	for _, o := range set.Objects {
		if isCRD(o) {
			group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
			kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
			kinds[schema.GroupKind{Group: group, Kind: kind}] = true
		}
	}
	return kinds
}

// remove deletes a run with all it made and returns when it is gone. What the
// run left on volumes stays.
func (c *Client) remove(ctx context.Context, t target, live *unstructured.Unstructured) error {
	foreground := metav1.DeletePropagationForeground
	uid := live.GetUID()
	err := t.resource.Delete(ctx, live.GetName(), metav1.DeleteOptions{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil && !apierrors.IsConflict(err) {
		return err
	}
	return untilGone(ctx, t, live.GetName(), uid)
}

func untilGone(ctx context.Context, t target, name string, uid types.UID) error {
	gone := func(store cache.Store) (bool, error) {
		for _, item := range store.List() {
			if u, ok := item.(*unstructured.Unstructured); ok && u.GetUID() == uid {
				return false, nil
			}
		}
		return true, nil
	}
	_, err := watchtools.UntilWithSync(ctx, named(t, name), &unstructured.Unstructured{}, gone, func(e watch.Event) (bool, error) {
		u, ok := e.Object.(*unstructured.Unstructured)
		return ok && u.GetUID() == uid && e.Type == watch.Deleted, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for its end: %w", err)
	}
	return nil
}

// established returns when the server serves a new kind.
func (c *Client) established(ctx context.Context, t target, crd *unstructured.Unstructured) error {
	_, err := watchtools.UntilWithSync(ctx, named(t, crd.GetName()), &unstructured.Unstructured{}, nil, func(e watch.Event) (bool, error) {
		u, ok := e.Object.(*unstructured.Unstructured)
		return ok && e.Type != watch.Deleted && isTrue(u, "Established"), nil
	})
	if err != nil {
		return fmt.Errorf("waiting until the server has the kind: %w", err)
	}
	return nil
}

func isTrue(u *unstructured.Unstructured, condition string) bool {
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range all {
		if c, ok := item.(map[string]any); ok && c["type"] == condition {
			return c["status"] == "True"
		}
	}
	return false
}

// named lists and watches one object.
func named(t target, name string) cache.ListerWatcher {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return t.resource.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return t.resource.Watch(ctx, o)
		},
	}
}
