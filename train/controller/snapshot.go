package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// Snapshot of the runtime: TrainJobs do not feel later changes to a runtime, and
// runtimes can be deleted at any time.
const (
	snapshotSuffix = "-runtime-snapshot"
	snapshotKey    = "runtime"
)

// unsupportedRuntime: the TrainJob names a kind that is no runtime.
type unsupportedRuntime struct{ kind, group string }

func (e *unsupportedRuntime) Error() string {
	return fmt.Sprintf("unsupported runtime: %s.%s", e.kind, e.group)
}

// missingRuntime: the runtime does not exist, yet.
type missingRuntime struct {
	path, what, name string
	lookup           error
}

func (e *missingRuntime) Error() string {
	text := fmt.Sprintf("%s: %v: specified %s must be created before the TrainJob is created", e.path, e.lookup, e.what)
	if slices.Contains(notShipped, e.name) {
		text += "; Kubeflow ships a runtime of this name, Studio does not"
	}
	return text
}

// notShipped are Kubeflow's runtimes that users of Studio look for in vain.
var notShipped = []string{
	"deepspeed-distributed", "mlx-distributed", "jax-distributed", "xgboost-distributed", "torch-distributed-with-cache",
	"torchtune-llama3.2-1b", "torchtune-llama3.2-3b", "torchtune-qwen2.5-1.5b",
}

// runtime returns the TrainJob's runtime as it was when the TrainJob was first seen.
// Both kinds have one form; the kind is kept in the type's own fields.
func (r *reconciler) runtime(ctx context.Context, tj *v1alpha1.TrainJob) (*v1alpha1.ClusterTrainingRuntime, error) {
	key := client.ObjectKey{Namespace: tj.Namespace, Name: tj.Name + snapshotSuffix}
	cm := &corev1.ConfigMap{}
	err := r.live.Get(ctx, key, cm)
	switch {
	case err == nil && former(tj, cm):
		return nil, errFormer
	case err == nil && !controls(tj, cm):
		return nil, fmt.Errorf("ConfigMap %s exists and does not belong to this TrainJob; delete it or choose another name", key.Name)
	case err == nil:
		rt := &v1alpha1.ClusterTrainingRuntime{}
		if err := yaml.UnmarshalStrict([]byte(cm.Data[snapshotKey]), rt); err != nil {
			return nil, fmt.Errorf("invalid runtime snapshot: %w", err)
		}
		if len(rt.Spec.Template.Spec.ReplicatedJobs) == 0 {
			return nil, fmt.Errorf("invalid runtime snapshot: ConfigMap %s holds no runtime under the key %q", key.Name, snapshotKey)
		}
		return rt, nil
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("reading the runtime's snapshot: %w", err)
	}
	rt, err := r.lookup(ctx, tj.Spec.RuntimeRef, tj.Namespace)
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(rt)
	if err != nil {
		return nil, err
	}
	cm = &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: key.Name, Namespace: key.Namespace,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(tj, v1alpha1.GroupVersion.WithKind(v1alpha1.TrainJobKind))},
		},
		Data: map[string]string{snapshotKey: string(text)},
	}
	if err := r.client.Create(ctx, cm, fieldOwner); err != nil {
		return nil, fmt.Errorf("keeping the runtime's snapshot: %w", err)
	}
	return rt, nil
}

// lookup reads the runtime itself.
func (r *reconciler) lookup(ctx context.Context, ref v1alpha1.RuntimeRef, namespace string) (*v1alpha1.ClusterTrainingRuntime, error) {
	kind, group := deref(ref.Kind, v1alpha1.ClusterTrainingRuntimeKind), deref(ref.APIGroup, v1alpha1.GroupVersion.Group)
	rt := &v1alpha1.ClusterTrainingRuntime{}
	var err error
	switch {
	case group != v1alpha1.GroupVersion.Group:
		return nil, &unsupportedRuntime{kind, group}
	case kind == v1alpha1.ClusterTrainingRuntimeKind:
		if err = r.client.Get(ctx, client.ObjectKey{Name: ref.Name}, rt); apierrors.IsNotFound(err) {
			return nil, &missingRuntime{"spec.RuntimeRef", "clusterTrainingRuntime", ref.Name, err}
		}
	case kind == v1alpha1.TrainingRuntimeKind:
		own := &v1alpha1.TrainingRuntime{}
		if err = r.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, own); apierrors.IsNotFound(err) {
			return nil, &missingRuntime{"spec.runtimeRef", "trainingRuntime", ref.Name, err}
		}
		rt.ObjectMeta, rt.Spec = own.ObjectMeta, own.Spec
	default:
		return nil, &unsupportedRuntime{kind, group}
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", kind, ref.Name, err)
	}
	return &v1alpha1.ClusterTrainingRuntime{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Name: rt.Name, Namespace: rt.Namespace, Labels: rt.Labels, UID: rt.UID, Generation: rt.Generation},
		Spec:       rt.Spec,
	}, nil
}

func deref(s *string, otherwise string) string {
	if s == nil || *s == "" {
		return otherwise
	}
	return *s
}
