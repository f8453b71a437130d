package train

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/mlstudio/studio/platform/launch"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// Launchers of this pillar.
func Launchers() []launch.Launcher { return []launch.Launcher{launcher{}} }

const (
	// launchRuntime sets what torchrun reads and is part of every Trainer installation.
	launchRuntime = "torch-distributed"
	patchManager  = "mlstudio.dev/run"
)

type launcher struct{}

func (launcher) As() string { return "train" }

// Object is a TrainJob. Where several processes have to find each other, torchrun starts them.
func (launcher) Object(s launch.Spec) (*unstructured.Unstructured, error) {
	resources, err := s.Resources()
	if err != nil {
		return nil, err
	}
	env, from := s.Variables()
	if len(from) > 0 {
		name := from[0].SecretRef.Name
		return nil, fmt.Errorf("a TrainJob takes single variables, not the whole secret %s; name the key: %s/KEY", name, name)
	}
	command := s.Command
	if s.Nodes > 1 || s.GPUs > 1 {
		command = torchrun(command)
	}
	trainer := map[string]any{"command": command}
	if s.Nodes > 1 {
		trainer["numNodes"] = s.Nodes
	}
	if s.Image != "" {
		trainer["image"] = s.Image
	}
	if len(env) > 0 {
		trainer["env"] = env
	}
	if len(resources.Limits) > 0 {
		trainer["resourcesPerNode"] = resources
	}
	spec := map[string]any{"runtimeRef": map[string]any{"name": launchRuntime}, "trainer": trainer}
	if patch := podPatch(s); patch != nil {
		spec["runtimePatches"] = []any{map[string]any{"manager": patchManager, "trainingRuntimeSpec": patch}}
	}
	return launch.Plain(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.TrainJobKind,
		"metadata": metav1.ObjectMeta{Name: s.Name, GenerateName: s.GenerateName, Namespace: s.Namespace, Annotations: s.Annotations},
		"spec":     spec,
	})
}

// torchrun starts a Python command in the place of the interpreter.
func torchrun(command []string) []string {
	if len(command) > 1 && command[0] == "python3" {
		return append([]string{"torchrun"}, command[1:]...)
	}
	return command
}

// podPatch adds the volumes to the runtime's pods: a trainer has no field for them.
func podPatch(s launch.Spec) map[string]any {
	if len(s.Volumes) == 0 {
		return nil
	}
	volumes, mounts := s.Mounts()
	pod := map[string]any{"volumes": volumes, "containers": []any{map[string]any{"name": "node", "volumeMounts": mounts}}}
	return map[string]any{"template": map[string]any{"spec": map[string]any{"replicatedJobs": []any{map[string]any{
		"name": "node", "template": map[string]any{"spec": map[string]any{"template": map[string]any{"spec": pod}}},
	}}}}}
}
