package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrainJob trains a model with a runtime's recipe.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=trainjobs,singular=trainjob
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.conditions[-1:].type`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must match RFC 1035 DNS label format"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must be no more than 63 characters"
type TrainJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What to train and how.
	// +optional
	Spec TrainJobSpec `json:"spec,omitzero"`
	// How far it is; written by the controller.
	// +optional
	Status TrainJobStatus `json:"status,omitzero"`
}

// TrainJobList is a list of TrainJobs.
//
// +kubebuilder:object:root=true
type TrainJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TrainJob `json:"items"`
}

// TrainJobSpec says what to train.
//
// The rules below keep a field from appearing or disappearing; the ones beside
// the fields keep its value.
//
// +kubebuilder:validation:XValidation:rule="has(self.initializer) == has(oldSelf.initializer)",message="field is immutable",fieldPath=".initializer"
// +kubebuilder:validation:XValidation:rule="has(self.trainer) == has(oldSelf.trainer)",message="field is immutable",fieldPath=".trainer"
// +kubebuilder:validation:XValidation:rule="has(self.activeDeadlineSeconds) == has(oldSelf.activeDeadlineSeconds)",message="field is immutable",fieldPath=".activeDeadlineSeconds"
// +kubebuilder:validation:XValidation:rule="has(self.managedBy) == has(oldSelf.managedBy)",message="field is immutable",fieldPath=".managedBy"
type TrainJobSpec struct {
	// The runtime whose recipe is used. It can not be changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="field is immutable"
	// +required
	RuntimeRef RuntimeRef `json:"runtimeRef"`

	// Steps that fetch data and the model before training. They can not be changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="field is immutable"
	// +optional
	Initializer *Initializer `json:"initializer,omitempty"`

	// The training step: what replaces or extends the container "node" of the
	// runtime. It can not be changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="field is immutable"
	// +optional
	Trainer *Trainer `json:"trainer,omitempty"`

	// Changes to the runtime's template, one entry for each manager, applied in
	// this order. They may change while the TrainJob is suspended.
	// +listType=map
	// +listMapKey=manager
	// +kubebuilder:validation:MaxItems=16
	// +optional
	RuntimePatches []RuntimePatch `json:"runtimePatches,omitempty"`

	// Pauses the TrainJob: its pods end and come back when this is false again.
	// +kubebuilder:default=false
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// Seconds after which a TrainJob that has not ended fails, counted from its
	// creation or last resume. It can not be changed.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="field is immutable"
	// +optional
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// Who runs it: this platform or MultiKueue, which runs it elsewhere. It can
	// not be changed.
	// +kubebuilder:default="trainer.kubeflow.org/trainjob-controller"
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self in ['trainer.kubeflow.org/trainjob-controller', 'kueue.x-k8s.io/multikueue']",message="ManagedBy must be trainer.kubeflow.org/trainjob-controller or kueue.x-k8s.io/multikueue if set"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="field is immutable"
	// +optional
	ManagedBy *string `json:"managedBy,omitempty"`

	FormerTrainJobFields `json:",inline"`
}

// RuntimeRef names a runtime.
type RuntimeRef struct {
	// Name of the runtime.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// API group of the runtime.
	// +kubebuilder:default="trainer.kubeflow.org"
	// +kubebuilder:validation:MaxLength=253
	// +optional
	APIGroup *string `json:"apiGroup,omitempty"`
	// ClusterTrainingRuntime, or TrainingRuntime of the TrainJob's namespace.
	// +kubebuilder:default="ClusterTrainingRuntime"
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Kind *string `json:"kind,omitempty"`
}

// Initializer fetches what the training step needs.
type Initializer struct {
	// Where the data comes from.
	// +optional
	Dataset *Source `json:"dataset,omitempty"`
	// Where the pretrained model comes from.
	// +optional
	Model *Source `json:"model,omitempty"`
}

// Source is something to fetch.
type Source struct {
	// URI of the source, such as hf://owner/name or s3://bucket/path.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z][A-Za-z0-9+.-]*://.+$')",message="storageUri may be empty, or it must be a valid URI (scheme://...)"
	// +optional
	StorageURI *string `json:"storageUri,omitempty"`
	// Environment of the initializer's container.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	// +optional
	Env []corev1.EnvVar `json:"env,omitempty"`
	// A Secret of the namespace whose keys become the container's environment.
	// +optional
	SecretRef *corev1.LocalObjectReference `json:"secretRef,omitempty"`
}

// Trainer is the training step.
type Trainer struct {
	// Image of the container "node".
	// +kubebuilder:validation:MaxLength=500
	// +optional
	Image *string `json:"image,omitempty"`
	// Entry point of the container "node".
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=1048576
	// +optional
	Command []string `json:"command,omitempty"`
	// Arguments to the entry point.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=1048576
	// +optional
	Args []string `json:"args,omitempty"`
	// Environment of the container "node"; wins over the runtime's.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	// +optional
	Env []corev1.EnvVar `json:"env,omitempty"`
	// How many nodes (pods) train together; the runtime's number if unset.
	// +kubebuilder:validation:Minimum=0
	// +optional
	NumNodes *int32 `json:"numNodes,omitempty"`
	// Resources of the container "node" on each node.
	// +optional
	ResourcesPerNode *corev1.ResourceRequirements `json:"resourcesPerNode,omitempty"`
	// Processes on each node; chosen from the resources if unset.
	// +kubebuilder:validation:XValidation:rule="self >= 1",message="numProcPerNode must be greater than or equal to 1"
	// +optional
	NumProcPerNode *int32 `json:"numProcPerNode,omitempty"`
}

// TrainJobStatus says how far a TrainJob is.
//
// +kubebuilder:validation:MinProperties=1
type TrainJobStatus struct {
	// Suspended, Complete and Failed; empty until one of them is known.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// How the Jobs of each replicated job stand.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	// +optional
	JobsStatus []JobStatus `json:"jobsStatus,omitempty"`
	// What the training program last reported.
	// +kubebuilder:validation:XValidation:rule="has(self.lastUpdatedTime)",message="lastUpdatedTime is required when trainerStatus is present"
	// +optional
	TrainerStatus *TrainerStatus `json:"trainerStatus,omitempty"`
}

// JobStatus counts the Jobs of one replicated job.
type JobStatus struct {
	// Name of the replicated job.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Jobs whose pods are all ready or done.
	// +kubebuilder:validation:Minimum=0
	Ready int32 `json:"ready"`
	// Jobs that succeeded.
	// +kubebuilder:validation:Minimum=0
	Succeeded int32 `json:"succeeded"`
	// Jobs that failed.
	// +kubebuilder:validation:Minimum=0
	Failed int32 `json:"failed"`
	// Jobs with a pod that waits or runs.
	// +kubebuilder:validation:Minimum=0
	Active int32 `json:"active"`
	// Jobs that are suspended.
	// +kubebuilder:validation:Minimum=0
	Suspended int32 `json:"suspended"`
}

// TrainerStatus is what the training program reports of itself.
type TrainerStatus struct {
	// How much is done, in percent.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	ProgressPercentage *int32 `json:"progressPercentage,omitempty"`
	// Seconds that are left, as the program estimates.
	// +kubebuilder:validation:Minimum=0
	// +optional
	EstimatedRemainingSeconds *int32 `json:"estimatedRemainingSeconds,omitempty"`
	// Metrics by name.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +optional
	Metrics []Metric `json:"metrics,omitempty"`
	// When the program reported.
	// +optional
	LastUpdatedTime *metav1.Time `json:"lastUpdatedTime,omitempty"`
}

// Metric is one named value.
type Metric struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Name string `json:"name"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Value string `json:"value"`
}
