package compose

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// Check finds what keeps the TrainJob from ever running with this runtime: all
// that upstream's webhooks refuse, in their words, and names that grow too long.
func Check(tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) field.ErrorList {
	errs := checkRuntime(rt)
	errs = append(errs, checkInitializer(tj, rt)...)
	errs = append(errs, checkPatches(tj, rt)...)
	if len(errs) > 0 {
		// Patches that contradict the runtime can not be applied.
		return errs
	}
	template, err := patched(rt.Template, tj.Spec.RuntimePatches)
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "runtimePatches"), "", err.Error())}
	}
	j := &job{trainJob: tj, runtime: rt, template: template, nodes: nodes(tj, rt)}
	errs = append(errs, policyOf(rt.MLPolicy).check(j)...)
	return append(errs, checkName(j)...)
}

func checkRuntime(rt *v1alpha1.TrainingRuntimeSpec) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "template", "spec", "replicatedJobs")
	if len(rt.Template.Spec.ReplicatedJobs) == 0 {
		return field.ErrorList{field.Required(path, "the runtime has no job to run")}
	}
	for i := range rt.Template.Spec.ReplicatedJobs {
		r := &rt.Template.Spec.ReplicatedJobs[i]
		step := ancestor(r)
		if step == "" {
			continue
		}
		if r.Replicas != 0 && r.Replicas != 1 {
			errs = append(errs, field.Invalid(path.Index(i).Child("replicas"), r.Replicas, "always must be 1"))
		}
		want := step
		if step == v1alpha1.AncestorTrainer {
			want = v1alpha1.ContainerNode
		}
		containers := r.Template.Spec.Template.Spec.Containers
		if container(containers, want) == nil {
			errs = append(errs, field.Invalid(path.Index(i).Child("template", "spec", "template", "spec", "containers"), names(containers),
				"must contain the required container for the ancestor: "+step))
		}
	}
	return errs
}

func checkInitializer(tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) field.ErrorList {
	in := tj.Spec.Initializer
	if in == nil {
		return nil
	}
	var errs field.ErrorList
	check := func(s *v1alpha1.Source, step, input string) {
		path := field.NewPath("spec", "initializer", strings.TrimSuffix(step, "-initializer"))
		switch r := stepJob(&rt.Template, step); {
		case s == nil:
		case r == nil:
			errs = append(errs, field.Invalid(path, step, fmt.Sprintf("must have %s job when trainJob is configured with input %s", step, input)))
		case container(r.Template.Spec.Template.Spec.Containers, step) == nil:
			errs = append(errs, field.Invalid(path, step, fmt.Sprintf("must have container with name - %s in the %s job", step, step)))
		}
	}
	check(in.Dataset, v1alpha1.AncestorDatasetInitializer, "datasetConfig")
	check(in.Model, v1alpha1.AncestorModelInitializer, "modelConfig")
	return errs
}

// maxName is the longest DNS label, and so the longest pod and host name.
const maxName = 63

// podSuffix is what Kubernetes adds to a pod's name.
const podSuffix = "-abcde"

// checkName computes the longest name that the TrainJob's pods would get.
func checkName(j *job) field.ErrorList {
	longest, of := 0, ""
	for i := range j.template.Spec.ReplicatedJobs {
		r := &j.template.Spec.ReplicatedJobs[i]
		count := int32(1)
		if p := r.Template.Spec.Parallelism; p != nil {
			count = *p
		}
		replicas := max(r.Replicas, 1)
		if step := ancestor(r); step != "" {
			replicas = 1
			if step == v1alpha1.AncestorTrainer {
				count = j.nodes
			}
		}
		if n := len(fmt.Sprintf("-%s-%d-%d%s", r.Name, replicas-1, max(count, 1)-1, podSuffix)); n > longest {
			longest, of = n, r.Name
		}
	}
	if limit := maxName - longest; len(j.trainJob.Name) > limit {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), j.trainJob.Name, fmt.Sprintf(
			"must be no more than %d characters with this runtime: the pods of its job %q add %d, and a pod's name has at most %d", limit, of, longest, maxName))}
	}
	return nil
}

func names(list []corev1.Container) []string {
	all := []string{}
	for _, c := range list {
		all = append(all, c.Name)
	}
	slices.Sort(all)
	return all
}
