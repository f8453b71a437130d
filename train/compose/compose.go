// Package compose turns a TrainJob and its runtime into a JobSet: the runtime's
// template, then the patches in their order, then what the TrainJob and the
// policy say. It is pure: everything that can be known from the two objects is
// decided here and tested without a cluster.
package compose

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// job is what is being composed, with what the policies need to know.
type job struct {
	trainJob *v1alpha1.TrainJob
	runtime  *v1alpha1.TrainingRuntimeSpec
	// template is the runtime's, patched.
	template *v1alpha1.JobSetTemplateSpec
	// nodes of the training step.
	nodes int32
}

// JobSet composes the JobSet of the TrainJob. Check must have found nothing.
func JobSet(tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) (*jobsetv1alpha2.JobSet, error) {
	template, err := patched(rt.Template, tj.Spec.RuntimePatches)
	if err != nil {
		return nil, err
	}
	j := &job{trainJob: tj, runtime: rt, template: template, nodes: nodes(tj, rt)}
	for i := range template.Spec.ReplicatedJobs {
		j.replicated(&template.Spec.ReplicatedJobs[i])
	}
	policyOf(rt.MLPolicy).apply(j)

	js := &jobsetv1alpha2.JobSet{
		TypeMeta: metav1.TypeMeta{APIVersion: jobsetv1alpha2.GroupVersion.String(), Kind: "JobSet"},
		ObjectMeta: metav1.ObjectMeta{
			Name: tj.Name, Namespace: tj.Namespace,
			Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(tj, v1alpha1.GroupVersion.WithKind(v1alpha1.TrainJobKind))},
		},
		Spec: template.Spec,
	}
	js.Spec.Suspend = new(tj.Spec.Suspend != nil && *tj.Spec.Suspend)
	return js, nil
}

// replicated sets what is the same under every policy.
func (j *job) replicated(r *jobsetv1alpha2.ReplicatedJob) {
	step := ancestor(r)
	count := int32(1)
	if p := r.Template.Spec.Parallelism; p != nil {
		count = *p
	}
	if step == v1alpha1.AncestorTrainer {
		count = j.nodes
	}
	if step != "" || r.Replicas == 0 {
		r.Replicas = 1
	}
	if r.GroupName == "" {
		r.GroupName = "default"
	}
	r.Template.Spec.Parallelism, r.Template.Spec.Completions = &count, new(count)

	pod := &r.Template.Spec.Template
	if id := j.trainJob.Annotations[projects.Annotation]; id != "" {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[projects.Annotation] = id
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			// So that a failure's last words are in the pod's status after its log is gone.
			if list[i].TerminationMessagePolicy == "" {
				list[i].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
			}
		}
	}
	if c := container(pod.Spec.Containers, v1alpha1.ContainerNode); step == v1alpha1.AncestorTrainer && c != nil {
		j.trainer(c)
	}
}

// trainer lets the TrainJob's trainer replace and extend the container.
func (j *job) trainer(c *corev1.Container) {
	t := j.trainJob.Spec.Trainer
	if t == nil {
		return
	}
	if t.Image != nil && *t.Image != "" {
		c.Image = *t.Image
	}
	if len(t.Command) > 0 {
		c.Command = slices.Clone(t.Command)
	}
	if len(t.Args) > 0 {
		c.Args = slices.Clone(t.Args)
	}
	c.Env = mergeEnv(c.Env, t.Env)
	if t.ResourcesPerNode != nil {
		c.Resources.Limits = mergeResources(c.Resources.Limits, t.ResourcesPerNode.Limits)
		c.Resources.Requests = mergeResources(c.Resources.Requests, t.ResourcesPerNode.Requests)
	}
}

// nodes of the training step: the TrainJob's number, the runtime's, or one.
func nodes(tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) int32 {
	if t := tj.Spec.Trainer; t != nil && t.NumNodes != nil {
		return *t.NumNodes
	}
	if p := rt.MLPolicy; p != nil && p.NumNodes != nil {
		return *p.NumNodes
	}
	return 1
}

// ancestor says which step of a TrainJob a replicated job is; empty for others.
func ancestor(r *jobsetv1alpha2.ReplicatedJob) string {
	switch step := r.Template.Labels[v1alpha1.LabelAncestor]; step {
	case v1alpha1.AncestorTrainer, v1alpha1.AncestorDatasetInitializer, v1alpha1.AncestorModelInitializer:
		return step
	}
	return ""
}

// stepJob returns the replicated job of a step, nil if there is none.
func stepJob(t *v1alpha1.JobSetTemplateSpec, step string) *jobsetv1alpha2.ReplicatedJob {
	for i := range t.Spec.ReplicatedJobs {
		if r := &t.Spec.ReplicatedJobs[i]; ancestor(r) == step {
			return r
		}
	}
	return nil
}

func replicatedJob(t *v1alpha1.JobSetTemplateSpec, name string) *jobsetv1alpha2.ReplicatedJob {
	for i := range t.Spec.ReplicatedJobs {
		if r := &t.Spec.ReplicatedJobs[i]; r.Name == name {
			return r
		}
	}
	return nil
}

func container(list []corev1.Container, name string) *corev1.Container {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// firstHost is the name under which the first pod of the training step is found.
func (j *job) firstHost() string {
	rjob, subdomain := v1alpha1.JobNode, j.trainJob.Name
	if r := stepJob(j.template, v1alpha1.AncestorTrainer); r != nil {
		rjob = r.Name
	}
	if n := j.template.Spec.Network; n != nil && n.Subdomain != "" {
		subdomain = n.Subdomain
	}
	return fmt.Sprintf("%s-%s-0-0.%s", j.trainJob.Name, rjob, subdomain)
}
