package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mlstudio/studio/platform/runnable"
)

// Found is a run on the cluster.
type Found struct {
	Object   *unstructured.Unstructured
	Runnable runnable.Runnable
}

// Runs lists all runs of a namespace, newest first. Kinds that the cluster does
// not have are left out.
func (c *Client) Runs(ctx context.Context, namespace string) ([]Found, error) {
	var all []Found
	for _, r := range c.runnables {
		gvk := r.GVK()
		m, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("asking the cluster for its kinds: %w", err)
		}
		list, err := c.dynamic.Resource(m.Resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing %ss: %w", gvk.Kind, err)
		}
		for i := range list.Items {
			all = append(all, Found{&list.Items[i], r})
		}
	}
	slices.SortFunc(all, func(a, b Found) int {
		at, bt := a.Object.GetCreationTimestamp(), b.Object.GetCreationTimestamp()
		if d := bt.Compare(at.Time); d != 0 {
			return d
		}
		return strings.Compare(a.Object.GetKind()+a.Object.GetName(), b.Object.GetKind()+b.Object.GetName())
	})
	return all, nil
}

// Find returns the run that a person names as NAME or KIND/NAME. Of two of one
// name the one that the other belongs to is meant.
func (c *Client) Find(ctx context.Context, namespace, ref string) (*Found, error) {
	kind, name, qualified := strings.Cut(ref, "/")
	if !qualified {
		kind, name = "", ref
	}
	runs, err := c.Runs(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var hits []Found
	for _, f := range runs {
		if f.Object.GetName() == name && (kind == "" || isKind(f.Object.GetKind(), kind)) {
			hits = append(hits, f)
		}
	}
	hits = owners(hits)
	switch {
	case len(hits) == 0:
		return nil, fmt.Errorf("there is no run %s in namespace %s%s", ref, namespace, others(runs))
	case len(hits) > 1:
		var names []string
		for _, h := range hits {
			names = append(names, strings.ToLower(h.Object.GetKind())+"/"+name)
		}
		return nil, fmt.Errorf("%s may be %s; name one of them", name, strings.Join(names, " or "))
	}
	return &hits[0], nil
}

// owners leaves out what belongs to another of the same: the JobSet of a TrainJob.
func owners(hits []Found) []Found {
	among := map[types.UID]bool{}
	for _, h := range hits {
		among[h.Object.GetUID()] = true
	}
	return slices.DeleteFunc(hits, func(h Found) bool {
		owner := metav1.GetControllerOf(h.Object)
		return owner != nil && among[owner.UID]
	})
}

// Top tells whether a run belongs to no other.
func (f Found) Top() bool { return metav1.GetControllerOf(f.Object) == nil }

// Outcome judges a run as it stands now.
func (c *Client) Outcome(ctx context.Context, f Found) (runnable.Outcome, error) {
	return c.outcome(ctx, f.Runnable, f.Object)
}

// isKind takes a kind as people type it: TrainJob, trainjob, trainjobs.
func isKind(kind, typed string) bool {
	typed, kind = strings.ToLower(typed), strings.ToLower(kind)
	typed, _, _ = strings.Cut(typed, ".")
	return typed == kind || typed == plural(kind) || kind == "pod" && typed == "po"
}

// mostNamed bounds what an error lists.
const mostNamed = 5

// others names the runs that belong to nothing else.
func others(runs []Found) string {
	var names []string
	for _, f := range runs {
		if f.Top() && len(names) < mostNamed {
			names = append(names, strings.ToLower(f.Object.GetKind())+"/"+f.Object.GetName())
		}
	}
	if len(names) == 0 {
		return ", and no other either"
	}
	return "; there are: " + strings.Join(names, ", ")
}
