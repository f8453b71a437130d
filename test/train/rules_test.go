package train

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mlstudio/studio/test/upstream"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// TestUpstreamsExamplesAreAccepted sends every example of our kinds to the API
// server, which must know each of its fields.
func TestUpstreamsExamplesAreAccepted(t *testing.T) {
	f := setup(t)
	files := append(upstream.Files(t, ".yaml", "trainer", "examples", "v2"), upstream.Files(t, ".yaml", "trainer", "runtimes")...)
	sent := 0
	for _, file := range files {
		if strings.HasSuffix(file, "old-fields.yaml") {
			continue
		}
		for _, obj := range f.objects(read(t, file)) {
			group := obj.GroupVersionKind().Group
			if group != "trainer.kubeflow.org" && group != "jobset.x-k8s.io" {
				continue
			}
			// Applied, so that names which exist already are no conflict.
			err := f.Apply(f.ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner("test"), client.ForceOwnership, client.DryRunAll)
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			sent++
		}
	}
	if sent < 30 {
		t.Errorf("only %d objects were sent: the examples are not all there", sent)
	}
	if len(f.warnings) > 0 {
		t.Errorf("warnings: %v", f.warnings)
	}
}

// TestAdmission holds the texts of the rules.
func TestAdmission(t *testing.T) {
	f := setup(t)
	for name, c := range map[string]struct{ name, spec, want string }{
		"name with a capital":  {name: "Tj", want: "Invalid value"},
		"name with a digit":    {name: "1tj", want: "metadata.name must match RFC 1035 DNS label format"},
		"name with a dot":      {name: "t.j", want: "metadata.name must match RFC 1035 DNS label format"},
		"name of 64":           {name: strings.Repeat("a", 64), want: "metadata.name must be no more than 63 characters"},
		"storage URI":          {spec: `initializer: {dataset: {storageUri: "no uri"}}`, want: "storageUri may be empty, or it must be a valid URI (scheme://...)"},
		"manager":              {spec: `managedBy: me`, want: "ManagedBy must be trainer.kubeflow.org/trainjob-controller or kueue.x-k8s.io/multikueue if set"},
		"processes":            {spec: `trainer: {numProcPerNode: 0}`, want: "numProcPerNode must be greater than or equal to 1"},
		"processes as a word":  {spec: `trainer: {numProcPerNode: auto}`, want: "must be of type integer"},
		"deadline":             {spec: `activeDeadlineSeconds: 0`, want: "should be greater than or equal to 1"},
		"twice the same env":   {spec: `trainer: {env: [{name: A}, {name: A}]}`, want: "Duplicate value"},
		"an unknown field":     {spec: `trainer: {nodes: 2}`, want: `unknown field "spec.trainer.nodes"`},
		"everything is proper": {spec: `trainer: {numNodes: 0}`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.name == "" {
				c.name = "tj"
			}
			if c.spec == "" {
				c.spec = "trainer: {}"
			}
			obj := f.objects(fmt.Appendf(nil, "{apiVersion: trainer.kubeflow.org/v1alpha1, kind: TrainJob, metadata: {name: %q}, spec: {runtimeRef: {name: x}, %s}}", c.name, c.spec))[0]
			err := f.Create(t.Context(), obj, client.DryRunAll, client.FieldValidation("Strict"))
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for name, c := range map[string]struct{ spec, want string }{
		"two policies": {"mlPolicy: {torch: {}, jax: {}}", "Only one of the policy can be configured"},
		"mpi":          {"mlPolicy: {mpi: {numProcPerNode: 0}}", "NumProcPerNode in mpiPolicy must be >= 1"},
		"flux":         {"mlPolicy: {flux: {numProcPerNode: 0}}", "NumProcPerNode in fluxPolicy must be >= 1"},
		"injection":    {"mlPolicy: {torch: {envInjection: {targets: [{jobName: node, containerNames: [node]}]}}}", "containerNames must not include the main node container because PET_* envs are always injected into it"},
		"order": {"template: {spec: {startupPolicy: {startupPolicyOrder: InOrder}, replicatedJobs: [{name: a, template: {}}, {name: b, template: {}, dependsOn: [{name: a, status: Ready}]}]}}",
			"StartupPolicy and DependsOn APIs are mutually exclusive"},
	} {
		t.Run(name, func(t *testing.T) {
			obj := f.objects(fmt.Appendf(nil, "{apiVersion: trainer.kubeflow.org/v1alpha1, kind: TrainingRuntime, metadata: {name: r}, spec: {%s}}", c.spec))[0]
			if err := f.Create(t.Context(), obj, client.DryRunAll); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

const immutable = "field is immutable"

// TestImmutableFields changes, adds and removes what may not change.
func TestImmutableFields(t *testing.T) {
	f := setup(t)
	f.mustApply(`
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: full}
spec:
  suspend: true
  runtimeRef: {name: torch-distributed}
  activeDeadlineSeconds: 100
  trainer: {command: [a]}
  initializer: {dataset: {storageUri: hf://a/b}}
  runtimePatches:
  - manager: a.example/m
    trainingRuntimeSpec: {template: {spec: {replicatedJobs: [{name: node, template: {spec: {template: {spec: {serviceAccountName: a, nodeSelector: {a: b}}}}}}]}}}
---
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: bare}
spec:
  suspend: true
  runtimeRef: {name: torch-distributed}
  runtimePatches:
  - manager: a.example/m
    trainingRuntimeSpec: {template: {spec: {replicatedJobs: [{name: node, template: {spec: {template: {spec: {}}}}}]}}}
---
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: running}
spec: {runtimeRef: {name: torch-distributed}, trainer: {command: [a]}}
`)
	pod := func(spec string) string {
		return `{"spec":{"runtimePatches":[{"manager":"a.example/m","trainingRuntimeSpec":{"template":{"spec":{"replicatedJobs":[{"name":"node","template":{"spec":{"template":{"spec":` + spec + `}}}}]}}}}]}}`
	}
	for name, c := range map[string]struct{ object, patch, want string }{
		"runtime changed":        {"full", `{"spec":{"runtimeRef":{"name":"other"}}}`, immutable},
		"trainer changed":        {"full", `{"spec":{"trainer":{"command":["b"]}}}`, immutable},
		"trainer removed":        {"full", `{"spec":{"trainer":null}}`, immutable},
		"trainer added":          {"bare", `{"spec":{"trainer":{}}}`, immutable},
		"initializer changed":    {"full", `{"spec":{"initializer":{"model":{}}}}`, immutable},
		"initializer removed":    {"full", `{"spec":{"initializer":null}}`, immutable},
		"initializer added":      {"bare", `{"spec":{"initializer":{}}}`, immutable},
		"deadline changed":       {"full", `{"spec":{"activeDeadlineSeconds":7}}`, immutable},
		"deadline removed":       {"full", `{"spec":{"activeDeadlineSeconds":null}}`, immutable},
		"deadline added":         {"bare", `{"spec":{"activeDeadlineSeconds":7}}`, immutable},
		"manager changed":        {"full", `{"spec":{"managedBy":"kueue.x-k8s.io/multikueue"}}`, immutable},
		"account changed":        {"full", pod(`{"serviceAccountName":"b"}`), immutable},
		"account removed":        {"full", pod(`{"nodeSelector":{"a":"b"}}`), immutable},
		"account added":          {"bare", pod(`{"serviceAccountName":"b"}`), immutable},
		"volumes added":          {"bare", pod(`{"volumes":[{"name":"v","emptyDir":{}}]}`), immutable},
		"containers added":       {"bare", pod(`{"containers":[{"name":"node"}]}`), immutable},
		"selector moved":         {"full", pod(`{"serviceAccountName":"a","nodeSelector":{"a":"c"}}`), ""},
		"tolerations added":      {"bare", pod(`{"tolerations":[{"key":"a"}]}`), ""},
		"patch of a running one": {"running", pod(`{"nodeSelector":{"a":"b"}}`), "RuntimePatches can only be modified when the TrainJob is suspended before or after the update"},
		"patch while suspending": {"running", strings.Replace(pod(`{"nodeSelector":{"a":"b"}}`), `{"spec":{`, `{"spec":{"suspend":true,`, 1), ""},
		"patch while resuming":   {"full", strings.Replace(pod(`{"serviceAccountName":"a","nodeSelector":{"a":"c"}}`), `{"spec":{`, `{"spec":{"suspend":false,`, 1), ""},
		"suspend alone":          {"running", `{"spec":{"suspend":true}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tj := &v1alpha1.TrainJob{}
			tj.Namespace, tj.Name = f.ns, c.object
			err := f.Patch(t.Context(), tj, client.RawPatch(types.MergePatchType, []byte(c.patch)), client.DryRunAll)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v, want it accepted", err)
			case c.want == immutable && !apierrors.IsInvalid(err),
				c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestFormerFieldsAreAnswered sends what Trainer 2.0 and 2.1 had: it is kept, and
// a warning and an Event name the successor.
func TestFormerFieldsAreAnswered(t *testing.T) {
	f := setup(t)
	text := string(read(t, shape(t, "shapes/old-fields.yaml")))
	if err := f.apply(text); err == nil || !strings.Contains(err.Error(), "numProcPerNode") {
		t.Errorf("a word as numProcPerNode: got %v", err)
	}
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.Contains(line, "numProcPerNode: auto") {
			lines = append(lines, line)
		}
	}
	f.mustApply(strings.Join(lines, "\n"))
	f.mustApply(`
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: older}
spec: {runtimeRef: {name: torch-distributed}, podSpecOverrides: [{}], labels: {a: b}, annotations: {a: b}}
---
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainingRuntime
metadata: {name: older}
spec: {mlPolicy: {torch: {numProcPerNode: auto, elasticPolicy: {minNodes: 1}}}}
`)
	for _, want := range []string{
		"spec.podTemplateOverrides has no effect since Trainer 2.2; use spec.runtimePatches",
		"spec.podSpecOverrides has no effect since Trainer 2.1; use spec.runtimePatches",
		"spec.labels has no effect since Trainer 2.2; use spec.runtimePatches[].trainingRuntimeSpec.template.metadata.labels",
		"spec.annotations has no effect since Trainer 2.2; use spec.runtimePatches[].trainingRuntimeSpec.template.metadata.annotations",
		"spec.mlPolicy.torch.numProcPerNode has no effect since Trainer 2.2; use spec.trainer.numProcPerNode of the TrainJob",
		"spec.mlPolicy.torch.elasticPolicy has no effect since Trainer 2.2 and has no successor",
	} {
		if !slices.ContainsFunc(f.warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning says %q; there are %q", want, f.warnings)
		}
	}
	f.event("TrainJob", "old-fields", "spec.podTemplateOverrides has no effect")
	f.event("TrainJob", "older", "spec.podSpecOverrides has no effect")
}

func TestDeprecatedRuntimeWarns(t *testing.T) {
	f := setup(t)
	obj := f.objects([]byte(`
apiVersion: trainer.kubeflow.org/v1alpha1
kind: ClusterTrainingRuntime
metadata: {name: old-one, labels: {trainer.kubeflow.org/support: deprecated}}
spec: {mlPolicy: {numNodes: 1}}
`))[0]
	if err := f.Create(f.ctx, obj, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	want := `ClusterTrainingRuntime "old-one" is deprecated and will be removed in a future release of Kubeflow Trainer. See runtime deprecation policy: `
	if len(f.warnings) != 1 || !strings.Contains(f.warnings[0], want) {
		t.Errorf("warnings %q, want %q", f.warnings, want)
	}
}
