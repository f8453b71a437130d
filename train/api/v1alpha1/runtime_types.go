package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
)

// TrainingRuntime is a recipe for the TrainJobs of one namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=trainingruntimes,singular=trainingruntime
type TrainingRuntime struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The recipe.
	// +optional
	Spec TrainingRuntimeSpec `json:"spec,omitzero"`
}

// TrainingRuntimeList is a list of TrainingRuntimes.
//
// +kubebuilder:object:root=true
type TrainingRuntimeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TrainingRuntime `json:"items"`
}

// ClusterTrainingRuntime is a recipe for the TrainJobs of all namespaces.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=clustertrainingruntimes,singular=clustertrainingruntime,scope=Cluster
type ClusterTrainingRuntime struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The recipe.
	// +optional
	Spec TrainingRuntimeSpec `json:"spec,omitzero"`
}

// ClusterTrainingRuntimeList is a list of ClusterTrainingRuntimes.
//
// +kubebuilder:object:root=true
type ClusterTrainingRuntimeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterTrainingRuntime `json:"items"`
}

// TrainingRuntimeSpec is the recipe of both kinds.
//
// +kubebuilder:validation:MinProperties=1
type TrainingRuntimeSpec struct {
	// How the processes of a training step find each other.
	// +optional
	MLPolicy *MLPolicy `json:"mlPolicy,omitempty"`
	// How the pods of a TrainJob are scheduled together.
	// +optional
	PodGroupPolicy *PodGroupPolicy `json:"podGroupPolicy,omitempty"`
	// The JobSet that a TrainJob becomes.
	// +optional
	Template JobSetTemplateSpec `json:"template,omitzero"`
}

// JobSetTemplateSpec is a JobSet in the making.
//
// +kubebuilder:validation:MinProperties=1
type JobSetTemplateSpec struct {
	// Labels and annotations of the JobSet.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`
	// The JobSet's spec.
	// +optional
	Spec jobsetv1alpha2.JobSetSpec `json:"spec,omitzero"`
}

// MLPolicy says how many nodes train and what their processes are told. Without
// one of the frameworks they are told nothing.
//
// +kubebuilder:validation:XValidation:rule="[has(self.torch), has(self.mpi), has(self.jax), has(self.xgboost), has(self.flux)].filter(x, x).size() <= 1",message="Only one of the policy can be configured"
type MLPolicy struct {
	// Nodes of the training step unless the TrainJob says otherwise; 1 if unset.
	// +optional
	NumNodes *int32 `json:"numNodes,omitempty"`
	// PyTorch: torchrun's variables.
	// +optional
	Torch *TorchPolicy `json:"torch,omitempty"`
	// MPI: a host file and SSH keys.
	// +optional
	MPI *MPIPolicy `json:"mpi,omitempty"`
	// JAX: the coordinator's address.
	// +optional
	JAX *JAXPolicy `json:"jax,omitempty"`
	// XGBoost: the tracker's address.
	// +optional
	XGBoost *XGBoostPolicy `json:"xgboost,omitempty"`
	// Flux: its broker and configuration.
	// +optional
	Flux *FluxPolicy `json:"flux,omitempty"`
}

// TorchPolicy is for PyTorch.
type TorchPolicy struct {
	// Further containers that are told the same.
	// +optional
	EnvInjection *EnvInjection `json:"envInjection,omitempty"`

	FormerTorchFields `json:",inline"`
}

// EnvInjection lists containers by job.
type EnvInjection struct {
	// +listType=map
	// +listMapKey=jobName
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Targets []EnvInjectionTarget `json:"targets,omitempty"`
}

// EnvInjectionTarget is some containers of one replicated job.
type EnvInjectionTarget struct {
	// Name of a replicated job.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	JobName string `json:"jobName"`
	// Names of its containers.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!self.exists(c, c == 'node')",message="containerNames must not include the main node container because PET_* envs are always injected into it"
	// +required
	ContainerNames []string `json:"containerNames"`
}

// MPIPolicy is for MPI programs.
type MPIPolicy struct {
	// Processes on each node.
	// +kubebuilder:default=1
	// +kubebuilder:validation:XValidation:rule="self >= 1",message="NumProcPerNode in mpiPolicy must be >= 1"
	// +optional
	NumProcPerNode *int32 `json:"numProcPerNode,omitempty"`
	// Whose MPI it is.
	// +kubebuilder:default=OpenMPI
	// +kubebuilder:validation:Enum=OpenMPI;""
	// +optional
	MPIImplementation *string `json:"mpiImplementation,omitempty"`
	// Where the SSH keys are mounted.
	// +kubebuilder:default="/root/.ssh"
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	SSHAuthMountPath *string `json:"sshAuthMountPath,omitempty"`
	// Whether the launcher trains too.
	// +kubebuilder:default=false
	// +optional
	RunLauncherAsNode *bool `json:"runLauncherAsNode,omitempty"`
}

// JAXPolicy is for JAX.
type JAXPolicy struct{}

// XGBoostPolicy is for XGBoost.
type XGBoostPolicy struct{}

// FluxPolicy is for Flux.
type FluxPolicy struct {
	// Processes on each node.
	// +kubebuilder:default=1
	// +kubebuilder:validation:XValidation:rule="self >= 1",message="NumProcPerNode in fluxPolicy must be >= 1"
	// +optional
	NumProcPerNode *int32 `json:"numProcPerNode,omitempty"`
}

// PodGroupPolicy is one way of scheduling pods together.
type PodGroupPolicy struct {
	// By the coscheduling plugin.
	// +optional
	Coscheduling *CoschedulingPolicy `json:"coscheduling,omitempty"`
	// By Volcano.
	// +optional
	Volcano *VolcanoPolicy `json:"volcano,omitempty"`
}

// CoschedulingPolicy is for the coscheduling plugin.
type CoschedulingPolicy struct {
	// Seconds until a group that does not fit gives way.
	// +kubebuilder:default=60
	// +optional
	ScheduleTimeoutSeconds *int32 `json:"scheduleTimeoutSeconds,omitempty"`
}

// VolcanoPolicy is for Volcano.
type VolcanoPolicy struct {
	// How near the pods must be to each other.
	// +optional
	NetworkTopology *NetworkTopology `json:"networkTopology,omitempty"`
}

// NetworkTopology is Volcano's measure of nearness.
type NetworkTopology struct {
	// Whether a wish (soft) or a condition (hard).
	// +kubebuilder:default=hard
	// +kubebuilder:validation:Enum=hard;soft
	// +optional
	Mode string `json:"mode,omitempty"`
	// The highest tier that the pods may span.
	// +kubebuilder:default=1
	// +optional
	HighestTierAllowed *int `json:"highestTierAllowed,omitempty"`
}
