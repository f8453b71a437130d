package apply

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mlstudio/studio/project/manifests"
)

const pod = `apiVersion: v1
kind: Pod
metadata:
  name: bad
spec:
  restartPolicy: Sometimes
  containers:
    - name: c
      image: yes
      comand: ["true"]
      env:
        - name: A
          value: 5
`

func object(t *testing.T, text string) manifests.Object {
	t.Helper()
	set, err := manifests.Load([]string{"-"}, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return set.Objects[0]
}

// The texts are those of a 1.37 API server.
func TestExplainMapsTheServersWordsToLines(t *testing.T) {
	typed := "failed to create typed patch object (default/bad; /v1, Kind=Pod): "
	for name, c := range map[string]struct {
		err  error
		want []string
	}{
		"typed, several": {
			apierrors.NewInternalError(errorText(typed + "errors:\n  .spec.containers[name=\"c\"].comand: field not declared in schema\n  .spec.containers[name=\"c\"].env[name=\"A\"].value: expected string, got &value.valueUnstructured{Value:5}")),
			[]string{
				"standard input:10:7: spec.containers[name=\"c\"].comand: Pod has no such field; correct or remove it; `kubectl explain pod.spec.containers` lists the fields",
				`standard input:13:11: spec.containers[name="c"].env[name="A"].value: want a text, not the number 5; put it in quotes: "5"`,
			},
		},
		"typed, truth value": {
			apierrors.NewInternalError(errorText(typed + ".spec.containers[name=\"c\"].image: expected string, got &value.valueUnstructured{Value:true}")),
			[]string{`standard input:9:7: spec.containers[name="c"].image: want a text, not the truth value true; put it in quotes; YAML takes y, n, yes, no, on and off for truth values`},
		},
		"strict": {
			apierrors.NewBadRequest(`Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].comand"`),
			[]string{"standard input:10:7: spec.containers[0].comand: Pod has no such field"},
		},
		"invalid": {
			apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "bad", field.ErrorList{field.NotSupported(field.NewPath("spec", "restartPolicy"), "Sometimes", []string{"Always", "Never"})}),
			[]string{`standard input:6:3: spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never"`},
		},
		"namespace": {
			apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "nope"),
			[]string{"standard input:3:1: metadata.namespace: there is no namespace nope; create it: kubectl create namespace nope"},
		},
		"conflict": {
			apierrors.NewApplyConflict([]metav1.StatusCause{{Type: metav1.CauseTypeFieldManagerConflict, Field: ".spec.restartPolicy", Message: `conflict with "kubectl"`}}, "conflict"),
			[]string{`standard input:6:3: spec.restartPolicy: another program set this field: conflict with "kubectl"; leave the field out, or take it over with --force-conflicts`},
		},
		"admission": {
			apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "bad", errorText("not here")),
			[]string{`standard input:1:1: pods "bad" is forbidden: not here`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			list := explain(object(t, pod), c.err)
			if len(list) != len(c.want) {
				t.Fatalf("got %d problems: %v", len(list), list)
			}
			for i, want := range c.want {
				if got := list[i].Error(); !strings.HasPrefix(got, want) {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			}
		})
	}
}

func TestExplainLeavesTheServersOwnTroubleAlone(t *testing.T) {
	for _, err := range []error{nil, errorText("connection refused"), apierrors.NewInternalError(errorText("out of memory")), apierrors.NewUnauthorized("who"), apierrors.NewTimeoutError("slow", 1)} {
		if list := explain(object(t, pod), err); list != nil {
			t.Errorf("%v became %v", err, list)
		}
	}
}

type errorText string

func (e errorText) Error() string { return string(e) }

func TestSameLooksAtWhatPeopleWrite(t *testing.T) {
	a := object(t, pod).Unstructured
	b := a.DeepCopy()
	b.SetResourceVersion("7")
	b.SetUID("u")
	b.Object["status"] = map[string]any{"phase": "Running"}
	if !same(a, b) {
		t.Error("what the server keeps for itself counts as content")
	}
	b.SetLabels(map[string]string{"a": "b"})
	if same(a, b) {
		t.Error("a label does not count as content")
	}
}

func TestPlural(t *testing.T) {
	for kind, want := range map[string]string{"Notebook": "notebooks", "Policy": "policies", "Gateway": "gateways", "Ingress": "ingresses", "Mesh": "meshes"} {
		if got := plural(kind); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}
