package compose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// runtimeSpec reads a runtime's spec.
func runtimeSpec(t *testing.T, text string) *v1alpha1.TrainingRuntimeSpec {
	t.Helper()
	s := &v1alpha1.TrainingRuntimeSpec{}
	if err := yaml.UnmarshalStrict([]byte(text), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// trainJob reads a TrainJob's spec.
func trainJob(t *testing.T, name, text string) *v1alpha1.TrainJob {
	t.Helper()
	tj := &v1alpha1.TrainJob{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: "uid"}}
	if err := yaml.UnmarshalStrict([]byte(text), &tj.Spec); err != nil {
		t.Fatal(err)
	}
	return tj
}

const torchRuntime = `
mlPolicy: {numNodes: 1, torch: {}}
template:
  metadata: {labels: {from: runtime}}
  spec:
    replicatedJobs:
    - name: prepare
      template:
        spec:
          parallelism: 2
          template:
            spec:
              containers: [{name: prepare, image: a}]
    - name: node
      template:
        metadata: {labels: {trainer.kubeflow.org/trainjob-ancestor-step: trainer}}
        spec:
          template:
            spec:
              containers:
              - name: node
                image: runtime
                args: [runtime]
                env: [{name: A, value: runtime}, {name: B, value: $(A)}, {name: PET_NNODES, value: "9"}]
                resources: {limits: {memory: 1Gi}}
              - name: sidecar
                image: s
`

func compose(t *testing.T, tj *v1alpha1.TrainJob, rt *v1alpha1.TrainingRuntimeSpec) *jobsetv1alpha2.JobSet {
	t.Helper()
	if errs := Check(tj, rt); len(errs) > 0 {
		t.Fatalf("Check: %v", errs)
	}
	js, err := JobSet(tj, rt)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func jobOf(t *testing.T, js *jobsetv1alpha2.JobSet, name string) *jobsetv1alpha2.ReplicatedJob {
	t.Helper()
	for i := range js.Spec.ReplicatedJobs {
		if js.Spec.ReplicatedJobs[i].Name == name {
			return &js.Spec.ReplicatedJobs[i]
		}
	}
	t.Fatalf("no job %s", name)
	return nil
}

func env(c *corev1.Container) map[string]string {
	m := map[string]string{}
	for _, v := range c.Env {
		m[v.Name] = v.Value
		if v.ValueFrom != nil {
			m[v.Name] = v.ValueFrom.FieldRef.FieldPath
		}
	}
	return m
}

func TestTrainerReplacesAndExtends(t *testing.T) {
	rt := runtimeSpec(t, torchRuntime)
	before := rt.DeepCopy()
	tj := trainJob(t, "tj", `
runtimeRef: {name: x}
suspend: true
trainer:
  numNodes: 3
  numProcPerNode: 2
  command: [python]
  env: [{name: A, value: trainjob}, {name: C, value: c}]
  resourcesPerNode: {limits: {cpu: "2"}, requests: {cpu: "1"}}
`)
	tj.Labels = map[string]string{"own": "label"}
	tj.Annotations = map[string]string{projects.Annotation: "digits-1", "other": "one"}
	js := compose(t, tj, rt)

	if diff := cmp.Diff(before, rt); diff != "" {
		t.Errorf("the runtime was changed:\n%s", diff)
	}
	if js.Name != "tj" || js.Namespace != "ns" || !*js.Spec.Suspend {
		t.Errorf("JobSet %s/%s suspend %v", js.Namespace, js.Name, *js.Spec.Suspend)
	}
	if diff := cmp.Diff(map[string]string{"from": "runtime"}, js.Labels); diff != "" {
		t.Errorf("labels:\n%s", diff)
	}
	if !metav1.IsControlledBy(js, tj) {
		t.Error("the TrainJob does not control the JobSet")
	}
	node := jobOf(t, js, "node")
	c := &node.Template.Spec.Template.Spec.Containers[0]
	if c.Image != "runtime" || !cmp.Equal(c.Command, []string{"python"}) || !cmp.Equal(c.Args, []string{"runtime"}) {
		t.Errorf("image %s, command %v, args %v", c.Image, c.Command, c.Args)
	}
	want := map[string]string{
		"A": "trainjob", "B": "$(A)", "C": "c", petNodes: "3", petProcesses: "2",
		petRank:       "metadata.annotations['batch.kubernetes.io/job-completion-index']",
		petMasterAddr: "tj-node-0-0.tj", petMasterPort: "29500",
	}
	if diff := cmp.Diff(want, env(c)); diff != "" {
		t.Errorf("env:\n%s", diff)
	}
	if c.Env[0].Name != "A" || c.Env[1].Name != "B" {
		t.Errorf("variables lost their places: %v", c.Env)
	}
	if got := c.Resources.Limits; got.Cpu().String() != "2" || got.Memory().String() != "1Gi" {
		t.Errorf("limits %v", got)
	}
	if *node.Template.Spec.Parallelism != 3 || *node.Template.Spec.Completions != 3 {
		t.Errorf("parallelism %d, completions %d", *node.Template.Spec.Parallelism, *node.Template.Spec.Completions)
	}
	if p := jobOf(t, js, "prepare").Template.Spec; *p.Parallelism != 2 || *p.Completions != 2 {
		t.Errorf("prepare: parallelism %d, completions %d", *p.Parallelism, *p.Completions)
	}
	for _, name := range []string{"prepare", "node"} {
		got := jobOf(t, js, name).Template.Spec.Template.Annotations
		if diff := cmp.Diff(map[string]string{projects.Annotation: "digits-1"}, got); diff != "" {
			t.Errorf("%s: pod annotations:\n%s", name, diff)
		}
	}
	if hosts := node.Template.Spec.Template.Spec.HostAliases; len(hosts) > 0 {
		t.Errorf("several nodes must find each other by DNS, not by %v", hosts)
	}
}

func TestOneNodeNeedsNoDNS(t *testing.T) {
	js := compose(t, trainJob(t, "tj", `runtimeRef: {name: x}`), runtimeSpec(t, torchRuntime))
	pod := jobOf(t, js, "node").Template.Spec.Template.Spec
	want := []corev1.HostAlias{{IP: "127.0.0.1", Hostnames: []string{"tj-node-0-0.tj"}}}
	if diff := cmp.Diff(want, pod.HostAliases); diff != "" {
		t.Error(diff)
	}
	// Upstream forgets the variables where spec.trainer is absent.
	if got := env(&pod.Containers[0])[petNodes]; got != "1" {
		t.Errorf("PET_NNODES is %q, want 1", got)
	}
}

func TestMasterHasTheNameThatThePodGets(t *testing.T) {
	rt := runtimeSpec(t, `
mlPolicy: {torch: {}}
template:
  spec:
    network: {subdomain: net}
    replicatedJobs:
    - name: worker
      template:
        metadata: {labels: {trainer.kubeflow.org/trainjob-ancestor-step: trainer}}
        spec: {template: {spec: {containers: [{name: node, image: a}]}}}
`)
	js := compose(t, trainJob(t, "tj", `runtimeRef: {name: x}`), rt)
	if got := env(&js.Spec.ReplicatedJobs[0].Template.Spec.Template.Spec.Containers[0])[petMasterAddr]; got != "tj-worker-0-0.net" {
		t.Errorf("PET_MASTER_ADDR is %q", got)
	}
}

func TestEnvInjection(t *testing.T) {
	rt := runtimeSpec(t, torchRuntime)
	rt.MLPolicy.Torch.EnvInjection = &v1alpha1.EnvInjection{Targets: []v1alpha1.EnvInjectionTarget{{JobName: "node", ContainerNames: []string{"sidecar"}}}}
	js := compose(t, trainJob(t, "tj", `runtimeRef: {name: x}`), rt)
	if got := env(&jobOf(t, js, "node").Template.Spec.Template.Spec.Containers[1])[petNodes]; got != "1" {
		t.Errorf("the sidecar's PET_NNODES is %q", got)
	}
}

func TestPlainTellsNothing(t *testing.T) {
	rt := runtimeSpec(t, torchRuntime)
	rt.MLPolicy.Torch = nil
	js := compose(t, trainJob(t, "tj", `runtimeRef: {name: x}`), rt)
	c := jobOf(t, js, "node").Template.Spec.Template.Spec.Containers[0]
	if diff := cmp.Diff(map[string]string{"A": "runtime", "B": "$(A)", "PET_NNODES": "9"}, env(&c)); diff != "" {
		t.Error(diff)
	}
	if len(c.Ports) > 0 {
		t.Errorf("ports %v", c.Ports)
	}
}

func TestPatchesApplyInOrder(t *testing.T) {
	js := compose(t, trainJob(t, "tj", `
runtimeRef: {name: x}
runtimePatches:
- manager: a.example/one
  trainingRuntimeSpec:
    template:
      metadata: {labels: {from: one, team: a}, annotations: {n: "1"}}
      spec:
        replicatedJobs:
        - name: node
          template:
            metadata: {labels: {job: label}}
            spec:
              template:
                metadata: {annotations: {pod: one}}
                spec:
                  serviceAccountName: sa
                  nodeSelector: {disk: ssd, zone: a}
                  tolerations: [{key: a}]
                  volumes: [{name: v, emptyDir: {}}]
                  containers:
                  - name: node
                    volumeMounts: [{name: v, mountPath: /v}]
                  - name: sidecar
                    env: [{name: S, value: "1"}]
- manager: b.example/two
  trainingRuntimeSpec:
    template:
      metadata: {labels: {from: two}}
      spec:
        replicatedJobs:
        - name: node
          template:
            spec:
              template:
                spec:
                  nodeSelector: {zone: b}
                  tolerations: [{key: b}]
`), runtimeSpec(t, torchRuntime))
	if diff := cmp.Diff(map[string]string{"from": "two", "team": "a"}, js.Labels); diff != "" {
		t.Errorf("labels:\n%s", diff)
	}
	if js.Spec.ReplicatedJobs[0].Name != "prepare" {
		t.Error("the order of the jobs changed")
	}
	node := jobOf(t, js, "node")
	pod := node.Template.Spec.Template.Spec
	if node.Template.Labels["job"] != "label" || node.Template.Labels[v1alpha1.LabelAncestor] != "trainer" {
		t.Errorf("job labels %v", node.Template.Labels)
	}
	if pod.ServiceAccountName != "sa" || node.Template.Spec.Template.Annotations["pod"] != "one" {
		t.Errorf("service account %q, annotations %v", pod.ServiceAccountName, node.Template.Spec.Template.Annotations)
	}
	if diff := cmp.Diff(map[string]string{"disk": "ssd", "zone": "b"}, pod.NodeSelector); diff != "" {
		t.Errorf("node selector:\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.Toleration{{Key: "b"}}, pod.Tolerations); diff != "" {
		t.Errorf("tolerations are one list:\n%s", diff)
	}
	c := pod.Containers[0]
	if c.Name != "node" || c.Image != "runtime" || len(c.VolumeMounts) != 1 {
		t.Errorf("container %+v", c)
	}
	if got := env(&pod.Containers[1])["S"]; got != "1" {
		t.Errorf("the sidecar's S is %q", got)
	}
}

func TestMergeEnv(t *testing.T) {
	v := func(pairs ...string) []corev1.EnvVar {
		var list []corev1.EnvVar
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, corev1.EnvVar{Name: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	base := v("A", "1", "B", "2")
	got := mergeEnv(base, v("B", "3", "C", "4"), v("C", "5", "A", "6"))
	if diff := cmp.Diff(v("A", "6", "B", "3", "C", "5"), got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(v("A", "1", "B", "2"), base); diff != "" {
		t.Errorf("the base was changed:\n%s", diff)
	}
}
