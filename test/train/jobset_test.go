package train

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
)

func read(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// jobSet waits until ok holds for the named JobSet.
func (f *fixture) jobSet(name, what string, ok func(*jobsetv1alpha2.JobSet) bool) *jobsetv1alpha2.JobSet {
	f.Helper()
	return f.await(&jobsetv1alpha2.JobSetList{}, "JobSet "+name+" "+what, func(o client.Object) bool {
		js, is := o.(*jobsetv1alpha2.JobSet)
		return is && js.Name == name && ok(js)
	}).(*jobsetv1alpha2.JobSet)
}

const userJobSet = `
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: own}
spec:
  failurePolicy: {maxRestarts: 1, rules: [{action: FailJobSet, onJobFailureReasons: [PodFailurePolicy]}]}
  replicatedJobs:
  - name: a
    template: {spec: {completions: 1, parallelism: 1, template: {spec: {containers: [{name: node, image: x, command: [a]}]}}}}
  - name: b
    dependsOn: [{name: a, status: Complete}]
    template: {spec: {completions: 1, parallelism: 1, template: {spec: {containers: [{name: node, image: x, command: [a]}]}}}}
`

func TestJobSetsOfUsersRun(t *testing.T) {
	f := setup(t)
	f.mustApply(userJobSet)
	first := f.pods("own", 1)[0]
	if name := first.Labels[jobsetv1alpha2.ReplicatedJobNameKey]; name != "a" {
		t.Fatalf("the first pod belongs to %s", name)
	}
	if first.Spec.RestartPolicy != corev1.RestartPolicyOnFailure || first.Spec.Subdomain != "own" {
		t.Errorf("restart policy %s, subdomain %s: the defaults are missing", first.Spec.RestartPolicy, first.Spec.Subdomain)
	}
	f.exits(first, 0, "Completed", "")
	f.exits(f.pods("own", 1)[0], 0, "Completed", "")
	js := f.jobSet("own", "to end", func(js *jobsetv1alpha2.JobSet) bool { return js.Status.TerminalState != "" })
	if !meta.IsStatusConditionTrue(js.Status.Conditions, "Completed") || js.Spec.SuccessPolicy.Operator != jobsetv1alpha2.OperatorAll {
		t.Errorf("status %+v, spec %+v", js.Status, js.Spec)
	}
	f.event("JobSet", "own", "jobset completed successfully")
}

func TestInvalidJobSetsEndWithTheReason(t *testing.T) {
	f := setup(t)
	for name, c := range map[string]struct{ manifest, want string }{
		"policy":                {strings.Replace(userJobSet, "spec:\n", "spec:\n  successPolicy: {operator: All, targetReplicatedJobs: [none]}\n", 1), "invalid replicatedJob name 'none' does not appear in .spec.ReplicatedJobs"},
		"first":                 {strings.Replace(userJobSet, "- name: a\n", "- name: a\n    dependsOn: [{name: b, status: Ready}]\n", 1), "DependsOn can't be set for the first ReplicatedJob"},
		strings.Repeat("l", 60): {userJobSet, "JobSet name is too long"},
	} {
		f.mustApply(strings.Replace(c.manifest, "name: own", "name: "+name, 1))
		js := f.jobSet(name, "to fail", func(js *jobsetv1alpha2.JobSet) bool {
			return meta.IsStatusConditionTrue(js.Status.Conditions, "Failed")
		})
		if got := js.Status.Conditions[0].Message; js.Status.TerminalState != "Failed" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, message %q lacks %q", name, js.Status.TerminalState, got, c.want)
		}
		f.event("JobSet", name, c.want)
	}
}
