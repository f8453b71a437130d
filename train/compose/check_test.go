package compose

import (
	"strings"
	"testing"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

func TestCheck(t *testing.T) {
	patch := func(body string) string {
		return "runtimeRef: {name: x}\nruntimePatches:\n- manager: a.example/m\n  trainingRuntimeSpec: {template: {spec: {replicatedJobs: [" + body + "]}}}"
	}
	for name, c := range map[string]struct {
		job, trainJob, runtime, want string
	}{
		"fine":            {trainJob: `runtimeRef: {name: x}`},
		"reserved env":    {trainJob: `{runtimeRef: {name: x}, trainer: {env: [{name: PET_NNODES}, {name: A}, {name: PET_MASTER_PORT}]}}`, want: "spec.trainer.env: Invalid value: * must not have reserved envs, invalid envs configured: [PET_NNODES PET_MASTER_PORT]"},
		"dataset job":     {trainJob: `{runtimeRef: {name: x}, initializer: {dataset: {storageUri: hf://a/b}}}`, want: "must have dataset-initializer job when trainJob is configured with input datasetConfig"},
		"model job":       {trainJob: `{runtimeRef: {name: x}, initializer: {model: {storageUri: hf://a/b}}}`, want: "must have model-initializer job when trainJob is configured with input modelConfig"},
		"patched job":     {trainJob: patch(`{name: none}`), want: "must not have replicated job that doesn't exist in the runtime job template"},
		"patched init":    {trainJob: patch(`{name: node, template: {spec: {template: {spec: {initContainers: [{name: none}]}}}}}`), want: "must not have initContainer that doesn't exist in the runtime job node"},
		"patched cont.":   {trainJob: patch(`{name: node, template: {spec: {template: {spec: {containers: [{name: none}]}}}}}`), want: "must not have container that doesn't exist in the runtime job node"},
		"patched env":     {trainJob: patch(`{name: node, template: {spec: {template: {spec: {containers: [{name: node, env: [{name: A}]}]}}}}}`), want: "must not have envs for the dataset-initializer, model-initializer, node containers"},
		"manager":         {trainJob: `{runtimeRef: {name: x}, runtimePatches: [{manager: me}]}`, want: "spec.runtimePatches[0].manager"},
		"48 fit":          {job: strings.Repeat("a", 48), trainJob: `runtimeRef: {name: x}`, runtime: oneJob("node")},
		"49 do not":       {job: strings.Repeat("a", 49), trainJob: `runtimeRef: {name: x}`, runtime: oneJob("node"), want: "metadata.name: Invalid value: * must be no more than 48 characters"},
		"ten nodes":       {job: strings.Repeat("a", 48), trainJob: `{runtimeRef: {name: x}, trainer: {numNodes: 11}}`, runtime: oneJob("node"), want: "must be no more than 47 characters"},
		"longer job":      {job: strings.Repeat("a", 34), trainJob: `runtimeRef: {name: x}`, runtime: oneJob("dataset-initializer"), want: "must be no more than 33 characters"},
		"no job":          {trainJob: `runtimeRef: {name: x}`, runtime: `mlPolicy: {}`, want: "the runtime has no job to run"},
		"replicas":        {trainJob: `runtimeRef: {name: x}`, runtime: strings.Replace(oneJob("node"), "name: node\n", "name: node\n      replicas: 2\n", 1), want: "always must be 1"},
		"container":       {trainJob: `runtimeRef: {name: x}`, runtime: strings.Replace(oneJob("node"), "name: node, image", "name: other, image", 1), want: "must contain the required container for the ancestor: trainer"},
		"injected nobody": {trainJob: `runtimeRef: {name: x}`, runtime: "mlPolicy: {torch: {envInjection: {targets: [{jobName: node, containerNames: [x]}]}}}\n" + oneJob("node"), want: `envInjection target podSet "node" container "x" not found in runtime template`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.job == "" {
				c.job = "tj"
			}
			if c.runtime == "" {
				c.runtime = torchRuntime
			}
			errs := Check(trainJob(t, c.job, c.trainJob), runtimeSpec(t, c.runtime))
			if c.want == "" {
				if len(errs) > 0 {
					t.Errorf("got %v, want nothing", errs)
				}
				return
			}
			if len(errs) == 0 {
				t.Fatalf("got nothing, want %q", c.want)
			}
			text := errs.ToAggregate().Error()
			for part := range strings.SplitSeq(c.want, "*") {
				if !strings.Contains(text, strings.TrimSpace(part)) {
					t.Errorf("got %q, want %q", text, c.want)
				}
			}
		})
	}
}

func oneJob(name string) string {
	return `
template:
  spec:
    replicatedJobs:
    - name: ` + name + `
      template:
        metadata: {labels: {trainer.kubeflow.org/trainjob-ancestor-step: trainer}}
        spec: {template: {spec: {containers: [{name: node, image: a}]}}}
`
}

// TestNothingIsSilent walks what the contract has and Studio does not serve yet.
func TestNothingIsSilent(t *testing.T) {
	for name, c := range map[string]struct{ trainJob, runtime, want string }{
		"mpi":           {runtime: "mlPolicy: {mpi: {}}", want: "spec.mlPolicy.mpi"},
		"jax":           {runtime: "mlPolicy: {jax: {}}", want: "spec.mlPolicy.jax"},
		"xgboost":       {runtime: "mlPolicy: {xgboost: {}}", want: "spec.mlPolicy.xgboost"},
		"flux":          {runtime: "mlPolicy: {flux: {}}", want: "spec.mlPolicy.flux"},
		"torchtune":     {runtime: "mlPolicy: {torch: {}}", trainJob: "trainer: {command: [tune, run]}", want: "torchtune"},
		"dataset":       {trainJob: "initializer: {dataset: {}}", want: "spec.initializer.dataset"},
		"model":         {trainJob: "initializer: {model: {}}", want: "spec.initializer.model"},
		"coscheduling":  {runtime: "podGroupPolicy: {coscheduling: {}}", trainJob: "trainer: {numNodes: 2}", want: "coscheduling"},
		"volcano":       {runtime: "podGroupPolicy: {volcano: {}}", trainJob: "trainer: {numNodes: 2}", want: "volcano"},
		"gang of one":   {runtime: "podGroupPolicy: {coscheduling: {}}"},
		"plain":         {},
		"torch is fine": {runtime: "mlPolicy: {torch: {}}"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(Unsupported(trainJob(t, "tj", c.trainJob+"\nruntimeRef: {name: x}"), runtimeSpec(t, c.runtime+oneJob("node"))), "; ")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
	for name, c := range map[string]struct{ trainJob, runtime, want string }{
		"podSpecOverrides":     {trainJob: "podSpecOverrides: []", want: "spec.podSpecOverrides has no effect in this version of Trainer; use spec.runtimePatches"},
		"podTemplateOverrides": {trainJob: "podTemplateOverrides: []", want: "use spec.runtimePatches"},
		"labels":               {trainJob: "labels: {a: b}", want: "spec.labels has no effect"},
		"annotations":          {trainJob: "annotations: {a: b}", want: "spec.annotations has no effect"},
		"torch processes":      {runtime: "mlPolicy: {torch: {numProcPerNode: auto}}", want: "spec.mlPolicy.torch.numProcPerNode has no effect"},
		"elastic":              {runtime: "mlPolicy: {torch: {elasticPolicy: {}}}", want: "spec.mlPolicy.torch.elasticPolicy has no effect"},
		"claims":               {trainJob: "trainer: {resourcesPerNode: {claims: [{name: a}]}}", want: "spec.trainer.resourcesPerNode.claims"},
		"processes of plain":   {trainJob: "trainer: {numProcPerNode: 2}", want: "spec.trainer.numProcPerNode has no effect"},
		"plain":                {},
	} {
		t.Run("ignored "+name, func(t *testing.T) {
			got := strings.Join(Ignored(trainJob(t, "tj", c.trainJob+"\nruntimeRef: {name: x}"), runtimeSpec(t, c.runtime+oneJob("node"))), "; ")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
	if got := Ignored(trainJob(t, "tj", "{runtimeRef: {name: x}, trainer: {}}"), runtimeSpec(t, strings.Replace(oneJob("node"), v1alpha1.LabelAncestor, "other", 1))); len(got) != 1 {
		t.Errorf("a trainer without a job: got %v", got)
	}
}
