package compose

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// ownEnv are the containers whose environment has fields of its own in a TrainJob.
var ownEnv = map[string]bool{
	v1alpha1.ContainerNode: true, v1alpha1.AncestorDatasetInitializer: true, v1alpha1.AncestorModelInitializer: true,
}

// checkPatches holds the patches against the runtime that they change.
func checkPatches(tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) field.ErrorList {
	var errs field.ErrorList
	for i, p := range tj.Spec.RuntimePatches {
		path := field.NewPath("spec", "runtimePatches").Index(i)
		errs = append(errs, validation.IsDomainPrefixedPath(path.Child("manager"), p.Manager)...)
		if p.TrainingRuntimeSpec == nil || p.TrainingRuntimeSpec.Template == nil || p.TrainingRuntimeSpec.Template.Spec == nil {
			continue
		}
		jobs := path.Child("trainingRuntimeSpec", "template", "spec", "replicatedJobs")
		for k, r := range p.TrainingRuntimeSpec.Template.Spec.ReplicatedJobs {
			there := replicatedJob(&rt.Template, r.Name)
			if there == nil {
				errs = append(errs, field.Invalid(jobs, r.Name, "must not have replicated job that doesn't exist in the runtime job template"))
				continue
			}
			if r.Template == nil || r.Template.Spec == nil || r.Template.Spec.Template == nil || r.Template.Spec.Template.Spec == nil {
				continue
			}
			spec, pod := r.Template.Spec.Template.Spec, there.Template.Spec.Template.Spec
			at := jobs.Index(k).Child("template", "spec", "template", "spec")
			errs = append(errs, checkContainers(at.Child("initContainers"), spec.InitContainers, pod.InitContainers, r.Name, "initContainer")...)
			errs = append(errs, checkContainers(at.Child("containers"), spec.Containers, pod.Containers, r.Name, "container")...)
		}
	}
	return errs
}

func checkContainers(path *field.Path, patches []v1alpha1.ContainerPatch, there []corev1.Container, rjob, what string) field.ErrorList {
	var errs field.ErrorList
	for _, p := range patches {
		if container(there, p.Name) == nil {
			errs = append(errs, field.Invalid(path, p.Name, fmt.Sprintf("must not have %s that doesn't exist in the runtime job %s", what, rjob)))
		}
		if len(p.Env) > 0 && ownEnv[p.Name] {
			errs = append(errs, field.Invalid(path, p.Name, "must not have envs for the dataset-initializer, model-initializer, node containers"))
		}
	}
	return errs
}
