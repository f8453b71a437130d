package train

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

type runtimeObject = runtime.Object

// runtimeOf is a TrainingRuntime with additions to its spec and its pods' spec.
func runtimeOf(name, spec, pod string) string {
	return `
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainingRuntime
metadata: {name: ` + name + `}
spec:
` + spec + `
  template:
    spec:
      replicatedJobs:
      - name: node
        template:
          metadata: {labels: {trainer.kubeflow.org/trainjob-ancestor-step: trainer}}
          spec: {template: {spec: {` + pod + `containers: [{name: node, image: a}]}}}
---`
}

func simpleOn(name, runtime string) string {
	return `
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: ` + name + `}
spec: {runtimeRef: {kind: TrainingRuntime, name: ` + runtime + `}, trainer: {command: [python]}}
`
}

func TestTrainJobWaitsForItsRuntime(t *testing.T) {
	f := setup(t)
	f.mustApply(simpleOn("early", "later"))
	f.event("TrainJob", "early", `spec.runtimeRef: TrainingRuntime.trainer.kubeflow.org "later" not found: specified trainingRuntime must be created before the TrainJob is created`)
	f.mustApply(runtimeOf("later", "", ""))
	f.pods("early", 1)
}

func TestAbsentAndDeprecatedRuntimesAreSaid(t *testing.T) {
	f := setup(t)
	f.mustApply(strings.Replace(simple("tuned"), "torch-distributed", "torchtune-llama3.2-1b", 1))
	f.event("TrainJob", "tuned", "Kubeflow ships a runtime of this name, Studio does not")
	f.mustApply(strings.Replace(runtimeOf("aged", "", ""), "{name: aged}", "{name: aged, labels: {trainer.kubeflow.org/support: deprecated}}", 1) + simpleOn("tj", "aged"))
	f.event("TrainJob", "tj", `Referenced TrainingRuntime "aged" is deprecated`)
}

func TestSnapshotOutlivesTheRuntime(t *testing.T) {
	f := setup(t)
	f.mustApply(runtimeOf("short", "  mlPolicy: {numNodes: 2}", "") + strings.Replace(simpleOn("kept", "short"), "spec: {", "spec: {suspend: true, ", 1))
	tj := f.trainJob("kept", "to be suspended", func(tj *v1alpha1.TrainJob) bool { return len(tj.Status.Conditions) > 0 })
	cm := &corev1.ConfigMap{}
	if err := f.Get(f.ctx, client.ObjectKey{Namespace: f.ns, Name: "kept-runtime-snapshot"}, cm); err != nil {
		t.Fatal(err)
	}
	if !metav1.IsControlledBy(cm, tj) || !strings.Contains(cm.Data["runtime"], "numNodes: 2") {
		t.Errorf("snapshot %q, owners %v", cm.Data["runtime"], cm.OwnerReferences)
	}
	if err := f.Delete(f.ctx, &v1alpha1.TrainingRuntime{ObjectMeta: metav1.ObjectMeta{Name: "short", Namespace: f.ns}}); err != nil {
		t.Fatal(err)
	}
	f.suspend(tj, false)
	f.pods("kept", 2)
}

func TestBrokenSnapshotIsSaid(t *testing.T) {
	f := setup(t)
	f.mustApply(strings.Replace(simple("broken"), "spec: {", "spec: {suspend: true, ", 1))
	tj := f.trainJob("broken", "to be suspended", func(tj *v1alpha1.TrainJob) bool { return len(tj.Status.Conditions) > 0 })
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "broken-runtime-snapshot", Namespace: f.ns}}
	if err := f.Patch(f.ctx, cm, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"runtime":"spec: 7"}}`))); err != nil {
		t.Fatal(err)
	}
	f.suspend(tj, false)
	f.event("TrainJob", "broken", "TrainJob resources reconciliation failed: invalid runtime snapshot: ")
}

// TestWhatCanNotRunFails walks what is refused and what is not served: each ends
// as Failed with the reason, and says so in an Event.
func TestWhatCanNotRunFails(t *testing.T) {
	f := setup(t)
	long := strings.Repeat("a", 49)
	for _, c := range []struct{ name, manifests, reason, text string }{
		{"mpi", runtimeOf("mpi", "  mlPolicy: {mpi: {}}", "") + simpleOn("mpi", "mpi"), "NotSupported", "spec.mlPolicy.mpi"},
		{"jax", runtimeOf("jax", "  mlPolicy: {jax: {}}", "") + simpleOn("jax", "jax"), "NotSupported", "spec.mlPolicy.jax"},
		{"xgboost", runtimeOf("xgboost", "  mlPolicy: {xgboost: {}}", "") + simpleOn("xgboost", "xgboost"), "NotSupported", "spec.mlPolicy.xgboost"},
		{"flux", runtimeOf("flux", "  mlPolicy: {flux: {}}", "") + simpleOn("flux", "flux"), "NotSupported", "spec.mlPolicy.flux"},
		{"gang", runtimeOf("gang", "  mlPolicy: {numNodes: 2}\n  podGroupPolicy: {coscheduling: {}}", "") + simpleOn("gang", "gang"), "NotSupported", "coscheduling"},
		{"volcano", runtimeOf("volcano", "  mlPolicy: {numNodes: 2}\n  podGroupPolicy: {volcano: {}}", "") + simpleOn("volcano", "volcano"), "NotSupported", "volcano"},
		{"tune", strings.Replace(simple("tune"), "python, train.py", "tune, run", 1), "NotSupported", "torchtune"},
		{"dataset", strings.Replace(simple("dataset"), "spec: {", "spec: {initializer: {dataset: {storageUri: hf://a/b}}, ", 1), "Invalid", "must have dataset-initializer job when trainJob is configured with input datasetConfig"},
		{"kind", strings.Replace(simple("kind"), "runtimeRef: {", "runtimeRef: {kind: Recipe, ", 1), "TrainingRuntimeNotSupported", "unsupported runtime: Recipe.trainer.kubeflow.org"},
		{"group", strings.Replace(simple("group"), "runtimeRef: {", "runtimeRef: {apiGroup: a.example, ", 1), "TrainingRuntimeNotSupported", "unsupported runtime: ClusterTrainingRuntime.a.example"},
		{long, simple(long), "Invalid", "must be no more than 48 characters"},
		{"reserved", strings.Replace(simple("reserved"), "trainer: {", "trainer: {env: [{name: PET_NNODES, value: a}], ", 1), "Invalid", "must not have reserved envs, invalid envs configured: [PET_NNODES]"},
	} {
		f.mustApply(c.manifests)
		tj := f.ends(c.name, "Failed", c.reason)
		if got := tj.Status.Conditions[0].Message; !strings.Contains(got, c.text) {
			t.Errorf("%s: message %q lacks %q", c.name, got, c.text)
		}
		if e := f.event("TrainJob", c.name, c.text); e.Type != corev1.EventTypeWarning || e.Reason != c.reason {
			t.Errorf("%s: Event %s %s", c.name, e.Type, e.Reason)
		}
	}
	var sets jobsetv1alpha2.JobSetList
	if err := f.List(f.ctx, &sets, client.InNamespace(f.ns)); err != nil || len(sets.Items) != 0 {
		t.Errorf("%d JobSets were made for TrainJobs that can not run, %v", len(sets.Items), err)
	}
}

func TestPodsThatAreRefusedAreSaidOnTheTrainJob(t *testing.T) {
	f := setup(t)
	f.mustApplyFile(shape(t, "yaml/02-runtime-patches.yaml"))
	f.event("TrainJob", "runtime-patches-example", "training-sa")
	f.mustApply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: training-sa}}")
	for _, p := range f.pods("runtime-patches-example", 2) {
		if p.Spec.NodeSelector["node-type"] != "training" || p.Spec.ServiceAccountName != "training-sa" {
			t.Errorf("pod %s: selector %v, account %s", p.Name, p.Spec.NodeSelector, p.Spec.ServiceAccountName)
		}
	}
	js := &jobsetv1alpha2.JobSet{}
	if err := f.Get(f.ctx, client.ObjectKey{Namespace: f.ns, Name: "runtime-patches-example"}, js); err != nil {
		t.Fatal(err)
	}
	if js.Labels["team"] != "ml-platform" || js.Labels["cost-center"] != "research" || js.Annotations["prometheus.io/port"] != "8080" {
		t.Errorf("labels %v, annotations %v", js.Labels, js.Annotations)
	}
}
