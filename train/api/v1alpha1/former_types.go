package v1alpha1

import apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

// FormerTrainJobFields are those of Trainer 2.0 and 2.1. They have no effect; see
// the package comment.
type FormerTrainJobFields struct {
	// No longer used: Trainer 2.1 made it podTemplateOverrides, 2.2 runtimePatches.
	// +optional
	PodSpecOverrides *apiextensionsv1.JSON `json:"podSpecOverrides,omitempty"`
	// No longer used: Trainer 2.2 made it runtimePatches.
	// +optional
	PodTemplateOverrides *apiextensionsv1.JSON `json:"podTemplateOverrides,omitempty"`
	// No longer used: set template.metadata.labels of an entry of runtimePatches.
	// +optional
	Labels *apiextensionsv1.JSON `json:"labels,omitempty"`
	// No longer used: set template.metadata.annotations of an entry of runtimePatches.
	// +optional
	Annotations *apiextensionsv1.JSON `json:"annotations,omitempty"`
}

// FormerTorchFields are those of the torch policy of Trainer 2.0 and 2.1.
type FormerTorchFields struct {
	// No longer used: set trainer.numProcPerNode of the TrainJob.
	// +optional
	NumProcPerNode *apiextensionsv1.JSON `json:"numProcPerNode,omitempty"`
	// No longer used and without a successor.
	// +optional
	ElasticPolicy *apiextensionsv1.JSON `json:"elasticPolicy,omitempty"`
}

// Successor says what replaces a former field.
type Successor struct {
	// Field is the former field's path in the object.
	Field string
	// Use is the advice, a part of a sentence.
	Use string
}

// Former lists the former fields that a TrainJob still sets.
func (s *TrainJobSpec) Former() []Successor {
	f, set := s.FormerTrainJobFields, []Successor{}
	add := func(v *apiextensionsv1.JSON, field, use string) {
		if v != nil {
			set = append(set, Successor{"spec." + field, use})
		}
	}
	add(f.PodSpecOverrides, "podSpecOverrides", "use spec.runtimePatches")
	add(f.PodTemplateOverrides, "podTemplateOverrides", "use spec.runtimePatches")
	add(f.Labels, "labels", "use spec.runtimePatches[].trainingRuntimeSpec.template.metadata.labels")
	add(f.Annotations, "annotations", "use spec.runtimePatches[].trainingRuntimeSpec.template.metadata.annotations")
	return set
}

// Former lists the former fields that a runtime still sets.
func (s *TrainingRuntimeSpec) Former() []Successor {
	if s.MLPolicy == nil || s.MLPolicy.Torch == nil {
		return nil
	}
	f, set := s.MLPolicy.Torch.FormerTorchFields, []Successor{}
	if f.NumProcPerNode != nil {
		set = append(set, Successor{"spec.mlPolicy.torch.numProcPerNode", "use spec.trainer.numProcPerNode of the TrainJob"})
	}
	if f.ElasticPolicy != nil {
		set = append(set, Successor{"spec.mlPolicy.torch.elasticPolicy", "it has no successor; remove it"})
	}
	return set
}
