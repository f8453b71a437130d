package train

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/platform/launch"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

const launched = `apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata:
  generateName: train-
spec:
  runtimePatches:
  - manager: mlstudio.dev/run
    trainingRuntimeSpec:
      template:
        spec:
          replicatedJobs:
          - name: node
            template:
              spec:
                template:
                  spec:
                    containers:
                    - name: node
                      volumeMounts:
                      - mountPath: /model
                        name: model
                    volumes:
                    - name: model
                      persistentVolumeClaim:
                        claimName: model
  runtimeRef:
    name: torch-distributed
  trainer:
    command:
    - torchrun
    - train.py
    env:
    - name: A
      value: b
    numNodes: 2
    resourcesPerNode:
      limits:
        memory: 4Gi
`

func TestLauncher(t *testing.T) {
	spec := launch.Spec{GenerateName: "train-", Command: []string{"python3", "train.py"}, Nodes: 2, Memory: "4Gi",
		Env: []corev1.EnvVar{{Name: "A", Value: "b"}}, Volumes: []launch.Volume{{Claim: "model", Path: "/model"}}}
	u, err := launcher{}.Object(spec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(u.Object)
	if err != nil || string(got) != launched {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, launched)
	}
	// Every field is one of the API's.
	var tj v1alpha1.TrainJob
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, &tj, true); err != nil {
		t.Error(err)
	}
	spec.Nodes = 1
	if u, _ = (launcher{}).Object(spec); !strings.Contains(mustYAML(t, u.Object), "- python3\n") {
		t.Errorf("one node needs no torchrun: %v", u.Object)
	}
	spec.Secrets = []launch.Secret{{Name: "s"}}
	if _, err := (launcher{}).Object(spec); err == nil || !strings.Contains(err.Error(), "name the key: s/KEY") {
		t.Error(err)
	}
}

func mustYAML(t *testing.T, v any) string {
	t.Helper()
	raw, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
