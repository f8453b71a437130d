package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/train/api/v1alpha1"
	"github.com/mlstudio/studio/train/compose"
)

// fieldOwner of what is applied to JobSets; upstream's name for it.
const fieldOwner = client.FieldOwner("trainer")

// queueLabel names the queue that a queue controller would admit a TrainJob from.
const queueLabel = "kueue.x-k8s.io/queue-name"

// makeJobSet applies the JobSet that the TrainJob and its runtime make. A TrainJob
// that can never run ends as Failed instead; then and while its runtime is missing
// there is no JobSet.
func (r *reconciler) makeJobSet(ctx context.Context, tj *v1alpha1.TrainJob, js *jobsetv1alpha2.JobSet) (*jobsetv1alpha2.JobSet, error) {
	recipe, err := r.runtime(ctx, tj)
	var kind *unsupportedRuntime
	var missing *missingRuntime
	switch {
	case errors.As(err, &kind):
		setFailed(tj, v1alpha1.ReasonRuntimeNotSupported, kind.Error())
		return nil, nil
	case errors.As(err, &missing):
		// The runtime's creation brings this TrainJob back here.
		_ = r.report(tj, missing)
		return js, nil
	case err != nil:
		return nil, err
	}
	rt := &recipe.Spec
	if js == nil {
		if problems := compose.Check(tj, rt); len(problems) > 0 {
			setFailed(tj, v1alpha1.ReasonInvalid, problems.ToAggregate().Error())
			return nil, nil
		}
		if missing := compose.Unsupported(tj, rt); len(missing) > 0 {
			setFailed(tj, v1alpha1.ReasonNotSupported, strings.Join(missing, "; "))
			return nil, nil
		}
		for _, what := range compose.Ignored(tj, rt) {
			r.events.Event(tj, corev1.EventTypeWarning, eventIgnored, what)
		}
		if recipe.Labels[v1alpha1.LabelSupport] == "deprecated" {
			r.events.Eventf(tj, corev1.EventTypeWarning, eventDeprecated,
				"Referenced %s %q is deprecated and will be removed in a future release of Kubeflow Trainer", recipe.Kind, recipe.Name)
		}
	}
	want, err := compose.JobSet(tj, rt)
	if err != nil {
		return nil, err
	}
	applied, err := r.apply(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("applying the JobSet: %w", err)
	}
	if js == nil {
		r.events.Event(tj, corev1.EventTypeNormal, eventJobSet, "JobSet "+applied.Name+" is applied")
		if queue := tj.Labels[queueLabel]; queue != "" && suspended(tj) {
			r.events.Eventf(tj, corev1.EventTypeWarning, eventQueued,
				"it is suspended and waits for the queue %s; without a queue controller nothing resumes it but setting spec.suspend to false", queue)
		}
	}
	return applied, nil
}

// apply sends only what is decided here: zero values that the types always write
// would otherwise be owned, and null ones refused.
func (r *reconciler) apply(ctx context.Context, js *jobsetv1alpha2.JobSet) (*jobsetv1alpha2.JobSet, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(js)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	u := &unstructured.Unstructured{Object: prune(content).(map[string]any)}
	if err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
		return nil, err
	}
	applied := &jobsetv1alpha2.JobSet{}
	return applied, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, applied)
}

// prune removes nulls, which mean "unset" in Go types and "remove" in an apply.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
				continue
			}
			v[k] = prune(e)
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}
