// Package v1alpha1 declares the kinds of trainer.kubeflow.org/v1alpha1 in the
// form of Kubeflow Trainer 2.3: TrainJob, TrainingRuntime and
// ClusterTrainingRuntime. CRDs and deep copies are generated from these types;
// defaults, limits and rules stand beside the fields and are enforced by the API
// server, so no webhook is needed.
//
// Fields of Trainer 2.0 to 2.2 that later releases dropped are kept as opaque
// values: the API server would otherwise lose them without a word. Policies in
// assets/policies answer them with a warning that names the successor.
//
// +kubebuilder:object:generate=true
// +groupName=trainer.kubeflow.org
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of all kinds here.
var GroupVersion = schema.GroupVersion{Group: "trainer.kubeflow.org", Version: "v1alpha1"}

// AddToScheme registers the kinds.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&TrainJob{}, &TrainJobList{},
		&TrainingRuntime{}, &TrainingRuntimeList{},
		&ClusterTrainingRuntime{}, &ClusterTrainingRuntimeList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
