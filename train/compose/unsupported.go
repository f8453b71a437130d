package compose

import (
	"slices"
	"strings"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// Unsupported lists what the TrainJob and its runtime ask for and Studio does not
// serve, one sentence each. A TrainJob that needs one of them must not run as if
// it had it.
func Unsupported(tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) []string {
	var all []string
	add := func(asked bool, what string) {
		if asked {
			all = append(all, what)
		}
	}
	if p := rt.MLPolicy; p != nil {
		add(p.MPI != nil, "the runtime's spec.mlPolicy.mpi is not served: no host file and no SSH keys would be made")
		add(p.JAX != nil, "the runtime's spec.mlPolicy.jax is not served: the processes would not be told their coordinator")
		add(p.XGBoost != nil, "the runtime's spec.mlPolicy.xgboost is not served: the processes would not be told their tracker")
		add(p.Flux != nil, "the runtime's spec.mlPolicy.flux is not served: no broker would be set up")
		add(p.Torch != nil && isTorchtune(tj, rt), "torchtune (the command \"tune run\") is not served: its recipe and config would not be chosen")
	}
	if in := tj.Spec.Initializer; in != nil {
		add(in.Dataset != nil, "spec.initializer.dataset is not served: the data set would not be fetched")
		add(in.Model != nil, "spec.initializer.model is not served: the model would not be fetched")
	}
	if g := rt.PodGroupPolicy; g != nil {
		// One pod is always scheduled together with itself.
		several := nodes(tj, rt) > 1 || len(rt.Template.Spec.ReplicatedJobs) > 1
		add(several && g.Coscheduling != nil, "the runtime's spec.podGroupPolicy.coscheduling is not served: its pods would not be scheduled together")
		add(several && g.Volcano != nil, "the runtime's spec.podGroupPolicy.volcano is not served: its pods would not be scheduled together")
	}
	return all
}

// Ignored lists what has no effect but lets the TrainJob run, one sentence each.
func Ignored(tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) []string {
	var all []string
	for _, s := range slices.Concat(tj.Spec.Former(), rt.Former()) {
		all = append(all, s.Field+" has no effect in this version of Trainer; "+s.Use)
	}
	if t := tj.Spec.Trainer; t != nil && t.ResourcesPerNode != nil && len(t.ResourcesPerNode.Claims) > 0 {
		all = append(all, "spec.trainer.resourcesPerNode.claims has no effect; only limits and requests are merged")
	}
	if t := tj.Spec.Trainer; t != nil && t.NumProcPerNode != nil && (rt.MLPolicy == nil || rt.MLPolicy.Torch == nil) {
		all = append(all, "spec.trainer.numProcPerNode has no effect: the runtime has no policy that reads it")
	}
	if tj.Spec.Trainer != nil && stepJob(&rt.Template, v1alpha1.AncestorTrainer) == nil {
		all = append(all, "spec.trainer has no effect: no job of the runtime carries the label "+v1alpha1.LabelAncestor+"="+v1alpha1.AncestorTrainer)
	}
	return all
}

func isTorchtune(tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) bool {
	var command []string
	if r := stepJob(&rt.Template, v1alpha1.AncestorTrainer); r != nil {
		if c := container(r.Template.Spec.Template.Spec.Containers, v1alpha1.ContainerNode); c != nil {
			command = c.Command
		}
	}
	if t := tj.Spec.Trainer; t != nil && len(t.Command) > 0 {
		command = t.Command
	}
	return strings.Join(command, " ") == "tune run"
}
