// Package controller is the training pillar: it turns TrainJobs into JobSets and
// tells how they go. Package compose decides what a JobSet looks like, package
// jobset runs it; this one moves what they say between the objects.
package controller

import (
	"context"
	"fmt"
	"io/fs"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/assets"
	"github.com/mlstudio/studio/platform/pillar"
	"github.com/mlstudio/studio/train/api/v1alpha1"
	"github.com/mlstudio/studio/train/jobset"
)

// Pillar is the training pillar.
type Pillar struct{}

var _ pillar.Pillar = Pillar{}

// Name is "train".
func (Pillar) Name() string { return "train" }

// AddToScheme registers Trainer's and JobSet's kinds.
func (Pillar) AddToScheme(s *runtime.Scheme) error {
	if err := v1alpha1.AddToScheme(s); err != nil {
		return err
	}
	return jobsetv1alpha2.AddToScheme(s)
}

// CRDs of Trainer and JobSet.
func (Pillar) CRDs() []string {
	return []string{
		"crds/jobset.x-k8s.io_jobsets.yaml",
		"crds/trainer.kubeflow.org_trainjobs.yaml",
		"crds/trainer.kubeflow.org_trainingruntimes.yaml",
		"crds/trainer.kubeflow.org_clustertrainingruntimes.yaml",
	}
}

// Objects are the shipped runtimes, roles and policies.
func (Pillar) Objects() fs.FS { return assets.Train }

// Cached are the kinds below; of Kubernetes' own only what belongs to a JobSet.
func (Pillar) Cached() map[client.Object]cache.ByObject {
	exists, err := labels.NewRequirement(jobsetv1alpha2.JobSetNameKey, selection.Exists, nil)
	if err != nil {
		panic(fmt.Sprintf("selector of JobSets' children: %v", err)) // constant input
	}
	ofJobSets := labels.NewSelector().Add(*exists)
	return map[client.Object]cache.ByObject{
		&v1alpha1.TrainJob{}:               {},
		&v1alpha1.TrainingRuntime{}:        {},
		&v1alpha1.ClusterTrainingRuntime{}: {},
		&jobsetv1alpha2.JobSet{}:           {},
		&batchv1.Job{}:                     {Label: ofJobSets},
		&corev1.Service{}:                  {},
		&corev1.Pod{}:                      {Label: ofJobSets, Transform: statusOnly},
		&corev1.Event{}: {Field: fields.SelectorFromSet(fields.Set{
			"involvedObject.kind": "Job", "reason": reasonPodNotCreated,
		})},
	}
}

// statusOnly drops what nobody here reads of a pod.
func statusOnly(obj any) (any, error) {
	if p, ok := obj.(*corev1.Pod); ok {
		p.ManagedFields, p.Spec = nil, corev1.PodSpec{NodeName: p.Spec.NodeName}
	}
	return obj, nil
}

// Setup adds the controllers of JobSets and TrainJobs.
func (Pillar) Setup(ctx context.Context, h pillar.Host) error {
	if err := jobset.Setup(ctx, h); err != nil {
		return fmt.Errorf("JobSet: %w", err)
	}
	return setup(h)
}

// childOf selects what belongs to the JobSet of that name.
func childOf(name string) client.MatchingLabels {
	return client.MatchingLabels{jobsetv1alpha2.JobSetNameKey: name}
}

// controls tells whether owner is the controller of obj.
func controls(owner, obj client.Object) bool { return metav1.IsControlledBy(obj, owner) }
