package apply

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/mlstudio/studio/platform/runnable"
	"github.com/mlstudio/studio/project/manifests"
	"github.com/mlstudio/studio/project/problem"
)

// Options change what happens to what is there.
type Options struct {
	// Replace deletes runs of the same name, also those under way.
	Replace bool
	// Force takes over fields that other programs set.
	Force bool
}

// Action is what happened, or will, to one object.
type Action string

// The actions. Replaced: a run of the same name was deleted and made again.
// Joined: it runs with the same content.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Replaced   Action = "replaced"
	Joined     Action = "joined"
)

// Step is the decision for one object.
type Step struct {
	Object manifests.Object
	Action Action
	// Runnable follows the object; nil for kinds that do not run to an end.
	Runnable runnable.Runnable
	// Was is how the run that is replaced had ended or stood.
	Was runnable.State

	target target
	live   *unstructured.Unstructured
	// unchecked: its kind comes with the set, so only the real apply can check it.
	unchecked bool
}

// Plan checks every object against the server and decides what to do with it. It
// changes nothing. The error is a problem.List where manifests are wrong, or
// *Running where a run under way differs.
func (c *Client) Plan(ctx context.Context, set *manifests.Set, opt Options) ([]Step, error) {
	brought := newKinds(set)
	namespaces := map[string]bool{}
	var steps []Step
	var wrong problem.List
	var running *Running
	for _, o := range set.Objects {
		if o.GetKind() == "Namespace" && o.GroupVersionKind().Group == "" {
			namespaces[o.GetName()] = true
		}
		t, err := c.target(o.Unstructured)
		if isUnknownKind(err) && brought[o.GroupVersionKind().GroupKind()] {
			steps = append(steps, Step{Object: o, Action: Created, unchecked: true})
			continue
		}
		if isUnknownKind(err) {
			wrong = append(wrong, c.unknown(o))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("asking the cluster for its kinds: %w", err)
		}
		step, err := c.plan(ctx, o, t, opt, namespaces)
		if errors.As(err, &running) {
			continue // problems of other files come first
		}
		if list := explain(o, err); len(list) > 0 {
			wrong = append(wrong, list...)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("checking %s: %w", o, err)
		}
		steps = append(steps, step)
	}
	switch {
	case len(wrong) > 0:
		wrong.Sort()
		return nil, wrong
	case running != nil:
		return nil, running
	}
	return steps, nil
}

func (c *Client) plan(ctx context.Context, o manifests.Object, t target, opt Options, namespaces map[string]bool) (Step, error) {
	step := Step{Object: o, Action: Created, target: t}
	step.Runnable, _ = c.runnables.For(o.Unstructured)
	live, err := t.get(ctx, o.GetName())
	if err != nil {
		return step, err
	}
	if live == nil {
		return step, c.tryNew(ctx, o, t, namespaces)
	}
	step.live = live
	if step.Runnable == nil {
		after, err := t.write(ctx, o.Unstructured, true, opt.Force)
		if err != nil {
			return step, err
		}
		step.Action = Configured
		if same(live, after) {
			step.Action = Unchanged
		}
		return step, nil
	}
	// Whether the manifest is right as such is seen by creating it anew: a valid
	// one fails only because the name is taken.
	if _, err := t.create(ctx, o.Unstructured, []string{metav1.DryRunAll}); err != nil && !apierrors.IsAlreadyExists(err) {
		return step, err
	}
	outcome, err := c.outcome(ctx, step.Runnable, live)
	if err != nil {
		return step, err
	}
	step.Was, step.Action = outcome.State, Replaced
	if opt.Replace || outcome.Done() || live.GetDeletionTimestamp() != nil {
		return step, nil
	}
	after, err := t.write(ctx, o.Unstructured, true, true)
	switch {
	case err == nil && same(live, after):
		step.Action = Joined
		return step, nil
	case err == nil, apierrors.IsInvalid(err), apierrors.IsForbidden(err):
		return step, &Running{Object: o, State: outcome.State}
	}
	return step, err
}

// tryNew has the server check a new object. One whose namespace is made by the
// same set is checked in another that is there.
func (c *Client) tryNew(ctx context.Context, o manifests.Object, t target, namespaces map[string]bool) error {
	probe := o.Unstructured
	if namespaces[o.GetNamespace()] {
		ns, err := c.dynamic.Resource(namespaceResource).Get(ctx, o.GetNamespace(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			probe = o.DeepCopy()
			probe.SetNamespace(metav1.NamespaceDefault)
			t.resource = c.dynamic.Resource(t.mapping.Resource).Namespace(metav1.NamespaceDefault)
		} else if err != nil {
			return err
		} else if ns.GetDeletionTimestamp() != nil {
			return fmt.Errorf("namespace %s is being deleted; run again when it is gone", ns.GetName())
		}
	}
	_, err := t.write(ctx, probe, true, true)
	return err
}

// Do carries a step out and returns the object as the server has it.
func (c *Client) Do(ctx context.Context, step Step, opt Options) (*unstructured.Unstructured, error) {
	if step.unchecked {
		t, err := c.target(step.Object.Unstructured)
		if err != nil {
			return nil, fmt.Errorf("applying %s: %w", step.Object, err)
		}
		step.target = t
	}
	switch step.Action {
	case Joined, Unchanged:
		return step.live, nil
	case Replaced:
		if err := c.remove(ctx, step.target, step.live); err != nil {
			return nil, fmt.Errorf("replacing %s: %w", step.Object, err)
		}
	}
	applied, err := step.target.write(ctx, step.Object.Unstructured, false, opt.Force)
	if list := explain(step.Object, err); len(list) > 0 {
		return nil, list
	}
	if err != nil {
		return nil, fmt.Errorf("applying %s: %w", step.Object, err)
	}
	if isCRD(step.Object) {
		if err := c.established(ctx, step.target, applied); err != nil {
			return nil, fmt.Errorf("applying %s: %w", step.Object, err)
		}
		c.mapper.Reset()
	}
	return applied, nil
}

// same compares what people write: all but what the server keeps for itself.
func same(a, b *unstructured.Unstructured) bool {
	return reflect.DeepEqual(strip(a), strip(b))
}

func strip(u *unstructured.Unstructured) map[string]any {
	c := u.DeepCopy()
	delete(c.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"} {
		unstructured.RemoveNestedField(c.Object, "metadata", field)
	}
	return c.Object
}
