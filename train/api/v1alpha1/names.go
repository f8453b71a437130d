package v1alpha1

// Kinds.
const (
	TrainJobKind               = "TrainJob"
	TrainingRuntimeKind        = "TrainingRuntime"
	ClusterTrainingRuntimeKind = "ClusterTrainingRuntime"
)

// Labels that clients read.
const (
	// LabelFramework on a runtime names what it trains with; SDKs list by it.
	LabelFramework = "trainer.kubeflow.org/framework"
	// LabelSupport on a runtime with the value "deprecated" warns its users.
	LabelSupport = "trainer.kubeflow.org/support"
	// LabelAncestor on a Job template says which step of a TrainJob it is.
	LabelAncestor = "trainer.kubeflow.org/trainjob-ancestor-step"
)

// Steps: values of LabelAncestor, and the containers that they need.
const (
	AncestorTrainer            = "trainer"
	AncestorDatasetInitializer = "dataset-initializer"
	AncestorModelInitializer   = "model-initializer"

	// ContainerNode is the container that trains.
	ContainerNode = "node"
	// JobNode is the usual name of the trainer's replicated job.
	JobNode = "node"
)

// Controllers that may own a TrainJob.
const (
	ManagedByTrainer    = "trainer.kubeflow.org/trainjob-controller"
	ManagedByMultiKueue = "kueue.x-k8s.io/multikueue"
)

// Condition types of a TrainJob. There is none while it waits or runs: clients
// derive that from its pods as long as the list is empty.
const (
	ConditionSuspended = "Suspended"
	ConditionComplete  = "Complete"
	ConditionFailed    = "Failed"
)

// Reasons of conditions. Those of a finished JobSet are passed on as they are.
const (
	ReasonSuspended           = "Suspended"
	ReasonResumed             = "Resumed"
	ReasonDeadlineExceeded    = "DeadlineExceeded"
	ReasonRuntimeNotSupported = "TrainingRuntimeNotSupported"
	// ReasonInvalid: the TrainJob contradicts itself or its runtime.
	ReasonInvalid = "Invalid"
	// ReasonNotSupported: Studio does not serve what the TrainJob asks for.
	ReasonNotSupported = "NotSupported"
	// ReasonCannotStart: a container can not be made from what its pod says.
	ReasonCannotStart = "CanNotStart"
)
