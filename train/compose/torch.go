package compose

import (
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// torchPort is where the first node waits for the others.
const torchPort = 29500

// Variables that torchrun reads; a TrainJob may not set them itself.
const (
	petNodes        = "PET_NNODES"
	petProcesses    = "PET_NPROC_PER_NODE"
	petRank         = "PET_NODE_RANK"
	petMasterAddr   = "PET_MASTER_ADDR"
	petMasterPort   = "PET_MASTER_PORT"
	completionIndex = "metadata.annotations['" + batchv1.JobCompletionIndexAnnotation + "']"
)

var torchReserved = []string{petNodes, petProcesses, petRank, petMasterAddr, petMasterPort}

// torch tells torchrun.
type torch struct{}

func (torch) apply(j *job) {
	r := stepJob(j.template, v1alpha1.AncestorTrainer)
	if r == nil {
		return
	}
	pod := &r.Template.Spec.Template.Spec
	c := container(pod.Containers, v1alpha1.ContainerNode)
	if c == nil {
		return
	}
	env := torchEnv(j, c)
	c.Env = mergeEnv(c.Env, env)
	if !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == torchPort }) {
		c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: torchPort, Protocol: corev1.ProtocolTCP})
	}
	if j.nodes == 1 {
		// One node meets itself: no name server is needed for that.
		pod.HostAliases = append(pod.HostAliases, corev1.HostAlias{IP: "127.0.0.1", Hostnames: []string{j.firstHost()}})
	}
	for _, t := range injections(j) {
		target := replicatedJob(j.template, t.JobName)
		for _, name := range t.ContainerNames {
			if c := container(target.Template.Spec.Template.Spec.Containers, name); c != nil {
				c.Env = mergeEnv(c.Env, env)
			}
		}
	}
}

func torchEnv(j *job, c *corev1.Container) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: petNodes, Value: strconv.Itoa(int(j.nodes))},
		{Name: petProcesses, Value: processes(j.trainJob.Spec.Trainer, c.Resources)},
		{Name: petRank, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: completionIndex}}},
		{Name: petMasterAddr, Value: j.firstHost()},
		{Name: petMasterPort, Value: strconv.Itoa(torchPort)},
	}
}

func injections(j *job) []v1alpha1.EnvInjectionTarget {
	if p := j.runtime.MLPolicy.Torch; p.EnvInjection != nil {
		return p.EnvInjection.Targets
	}
	return nil
}

func (torch) check(j *job) field.ErrorList {
	var errs field.ErrorList
	if t := j.trainJob.Spec.Trainer; t != nil {
		var taken []string
		for _, v := range t.Env {
			if slices.Contains(torchReserved, v.Name) {
				taken = append(taken, v.Name)
			}
		}
		if len(taken) > 0 {
			errs = append(errs, field.Invalid(field.NewPath("spec", "trainer", "env"), t.Env,
				fmt.Sprintf("must not have reserved envs, invalid envs configured: %v", taken)))
		}
	}
	for _, t := range injections(j) {
		target := replicatedJob(j.template, t.JobName)
		for _, name := range t.ContainerNames {
			if target == nil || container(target.Template.Spec.Template.Spec.Containers, name) == nil {
				errs = append(errs, field.Invalid(field.NewPath("spec", "mlPolicy", "torch", "envInjection", "targets"), t.JobName,
					fmt.Sprintf("envInjection target podSet %q container %q not found in runtime template", t.JobName, name)))
			}
		}
	}
	return errs
}
