// Package launch makes a Kubernetes object of a command: what `studio run
// train.py` and its like create. Each pillar implements Launcher for the kinds
// that it knows; the built-in one, a Job, is here.
package launch

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// GPU is the resource that a GPU is asked for by.
const GPU corev1.ResourceName = "nvidia.com/gpu"

// Spec is what to run, whatever kind of object it becomes.
type Spec struct {
	// Name is the object's; without one the server makes it from GenerateName.
	Name, GenerateName string
	Namespace          string
	Annotations        map[string]string
	// Command is run in the project's folder.
	Command []string
	// Image stands for the environment on a cluster where images are pulled.
	Image   string
	Env     []corev1.EnvVar
	Secrets []Secret
	Volumes []Volume
	// Nodes run the command at once; 0 means one.
	Nodes int
	// CPU and Memory are quantities such as 2 and 4Gi; empty asks for none.
	CPU, Memory string
	// GPUs of each node.
	GPUs int
}

// Volume is a claim and where the command sees it.
type Volume struct {
	Claim, Path string
	ReadOnly    bool
}

// Secret becomes environment variables: all of its keys, or the one that is named.
type Secret struct{ Name, Key string }

// Launcher makes objects of one kind.
type Launcher interface {
	// As is the word that chooses it: job, train.
	As() string
	// Object makes the object; an error names what this kind can not do.
	Object(Spec) (*unstructured.Unstructured, error)
}

// Set finds the launcher of a word.
type Set []Launcher

// For returns the launcher that a word chooses.
func (s Set) For(as string) (Launcher, error) {
	for _, l := range s {
		if l.As() == as {
			return l, nil
		}
	}
	return nil, fmt.Errorf("nothing runs as %q; known here: %s", as, strings.Join(s.Words(), ", "))
}

// Words are all that choose a launcher, sorted.
func (s Set) Words() []string {
	var all []string
	for _, l := range s {
		all = append(all, l.As())
	}
	slices.Sort(all)
	return all
}

// Resources are the limits that the spec asks for; a container is granted what
// it is limited to, so that it behaves the same on a full node.
func (s Spec) Resources() (corev1.ResourceRequirements, error) {
	limits := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: s.CPU, corev1.ResourceMemory: s.Memory} {
		if text == "" {
			continue
		}
		q, err := resource.ParseQuantity(text)
		if err != nil || q.Sign() <= 0 {
			return corev1.ResourceRequirements{}, fmt.Errorf("%s %q is no quantity; write cores such as 2 or 500m, or bytes such as 4Gi", name, text)
		}
		limits[name] = q
	}
	if s.GPUs > 0 {
		limits[GPU] = *resource.NewQuantity(int64(s.GPUs), resource.DecimalSI)
	}
	if len(limits) == 0 {
		return corev1.ResourceRequirements{}, nil
	}
	return corev1.ResourceRequirements{Limits: limits}, nil
}

// Variables are the environment and the secrets: those named by key as single
// variables, the others as sources of many.
func (s Spec) Variables() (env []corev1.EnvVar, from []corev1.EnvFromSource) {
	env = slices.Clone(s.Env)
	for _, secret := range s.Secrets {
		ref := corev1.LocalObjectReference{Name: secret.Name}
		if secret.Key == "" {
			from = append(from, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref}})
			continue
		}
		env = append(env, corev1.EnvVar{Name: secret.Key, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref, Key: secret.Key}}})
	}
	return env, from
}

// Mounts are the claims as volumes of a pod and as mounts of its container.
func (s Spec) Mounts() (volumes []corev1.Volume, mounts []corev1.VolumeMount) {
	named := map[string]bool{}
	for _, v := range s.Volumes {
		if !named[v.Claim] {
			named[v.Claim] = true
			volumes = append(volumes, corev1.Volume{Name: v.Claim, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v.Claim}}})
		}
		mounts = append(mounts, corev1.VolumeMount{Name: v.Claim, MountPath: v.Path, ReadOnly: v.ReadOnly})
	}
	return volumes, mounts
}

// Plain turns a typed object into one as a person would write it: without the
// status and the nulls that Go's types leave in.
func Plain(typed any) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(typed)
	if err != nil {
		return nil, fmt.Errorf("writing the object: %w", err)
	}
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &u.Object); err != nil {
		return nil, fmt.Errorf("writing the object: %w", err)
	}
	delete(u.Object, "status")
	prune(u.Object)
	return u, nil
}

func prune(m map[string]any) {
	for key, value := range m {
		switch v := value.(type) {
		case nil:
			delete(m, key)
		case map[string]any:
			prune(v)
			if len(v) == 0 && key != "emptyDir" {
				delete(m, key)
			}
		case []any:
			for _, item := range v {
				if sub, ok := item.(map[string]any); ok {
					prune(sub)
				}
			}
		}
	}
}
