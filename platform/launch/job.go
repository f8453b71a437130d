package launch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
)

// Builtin are the launchers of Kubernetes' own kinds.
func Builtin() []Launcher { return []Launcher{job{}} }

// keptFor is how long a Job that ended is there to be looked at.
const keptFor = 7 * 24 * 3600 // seconds

type job struct{}

func (job) As() string { return "job" }

// Object is a Job of one pod that is tried once: a script that fails would fail again.
func (job) Object(s Spec) (*unstructured.Unstructured, error) {
	if s.Nodes > 1 {
		return nil, fmt.Errorf("a Job runs on one node, not on %d", s.Nodes)
	}
	resources, err := s.Resources()
	if err != nil {
		return nil, err
	}
	volumes, mounts := s.Mounts()
	env, from := s.Variables()
	return Plain(batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, GenerateName: s.GenerateName, Namespace: s.Namespace, Annotations: s.Annotations},
		Spec: batchv1.JobSpec{
			BackoffLimit:            ptr.To(int32(0)),
			TTLSecondsAfterFinished: ptr.To(int32(keptFor)),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				// A script seldom asks the cluster, and the token's volume costs the start 0.3 s.
				AutomountServiceAccountToken: ptr.To(false),
				Volumes:                      volumes,
				Containers: []corev1.Container{{
					Name: "main", Image: s.Image, Command: s.Command, Env: env, EnvFrom: from, Resources: resources, VolumeMounts: mounts,
				}},
			}},
		},
	})
}
