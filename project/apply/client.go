// Package apply brings a set of manifests to a cluster: it checks all of them
// against the server before it changes anything, applies them by server-side
// apply, and decides what happens to a run of the same name that is there already.
package apply

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/mlstudio/studio/platform/runnable"
	"github.com/mlstudio/studio/project/manifests"
)

// FieldManager owns the fields that are set here.
const FieldManager = "studio"

// Client applies to one cluster.
type Client struct {
	dynamic   dynamic.Interface
	mapper    meta.ResettableRESTMapper
	core      corev1client.CoreV1Interface
	namespace string
	runnables runnable.Set
}

// New returns a client. Objects without a namespace go to the given one.
func New(cfg *rest.Config, namespace string, runnables runnable.Set) (*Client, error) {
	d, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	core, err := corev1client.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))
	return &Client{dynamic: d, mapper: mapper, core: core, namespace: namespace, runnables: runnables}, nil
}

// Dynamic and Core are the clients underneath, for those who go on with what was applied.
func (c *Client) Dynamic() dynamic.Interface         { return c.dynamic }
func (c *Client) Core() corev1client.CoreV1Interface { return c.core }

// target is where an object lives.
type target struct {
	resource dynamic.ResourceInterface
	mapping  *meta.RESTMapping
}

// target finds the place of an object and gives it the namespace it will have.
func (c *Client) target(o *unstructured.Unstructured) (target, error) {
	gvk := o.GroupVersionKind()
	m, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return target{}, err
	}
	all := c.dynamic.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameRoot {
		return target{all, m}, nil
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(c.namespace)
	}
	return target{all.Namespace(o.GetNamespace()), m}, nil
}

// Resource is the client for an object that was applied.
func (c *Client) Resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	t, err := c.target(o)
	return t.resource, err
}

func (t target) get(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	if name == "" {
		return nil, nil // a generated name is always new
	}
	live, err := t.resource.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return live, err
}

// write applies an object; one with a generated name is created. Dry runs the
// server's checks only.
func (t target) write(ctx context.Context, o *unstructured.Unstructured, dry, force bool) (*unstructured.Unstructured, error) {
	var dryRun []string
	if dry {
		dryRun = []string{metav1.DryRunAll}
	}
	if o.GetName() == "" {
		return t.create(ctx, o, dryRun)
	}
	body, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return t.resource.Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{
		FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun, Force: &force})
}

func (t target) create(ctx context.Context, o *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	return t.resource.Create(ctx, o, metav1.CreateOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun})
}

// outcome judges a live run.
func (c *Client) outcome(ctx context.Context, r runnable.Runnable, live *unstructured.Unstructured) (runnable.Outcome, error) {
	pods, err := c.core.Pods(live.GetNamespace()).List(ctx, r.Pods(live))
	if err != nil {
		return runnable.Outcome{}, fmt.Errorf("looking at the pods of %s %s: %w", live.GetKind(), live.GetName(), err)
	}
	return r.Outcome(live, pods.Items), nil
}

// Running is returned for a run of the same name that is under way with other
// content; replacing it is the person's decision.
type Running struct {
	Object manifests.Object
	State  runnable.State
}

func (e *Running) Error() string {
	return fmt.Sprintf("%s is %s with other content than %s says", e.Object, lower(e.State), e.Object.File())
}

func lower(s runnable.State) string {
	switch s {
	case runnable.Waiting:
		return "waiting to run"
	case runnable.Suspended:
		return "suspended"
	}
	return "running"
}
