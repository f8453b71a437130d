// Package apply tests how manifests are checked and applied, against a real
// control plane without a node.
package apply

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/mlstudio/studio/platform/runnable"
	"github.com/mlstudio/studio/project/apply"
	"github.com/mlstudio/studio/project/manifests"
	"github.com/mlstudio/studio/test/apiserver"
)

// config reaches the control plane of these tests.
var config *rest.Config

func TestMain(m *testing.M) {
	apiserver.Main(m, func(_ context.Context, cfg *rest.Config) error {
		config = cfg
		return nil
	})
}

func client(t *testing.T) *apply.Client {
	t.Helper()
	c, err := apply.New(config, "default", runnable.NewSet(runnable.Builtin()))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func load(t *testing.T, path string) *manifests.Set {
	t.Helper()
	set, err := manifests.Load([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// run plans and carries out; it returns what was done as "Kind name: action".
func run(t *testing.T, c *apply.Client, set *manifests.Set, opt apply.Options) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	steps, err := c.Plan(ctx, set, opt)
	if err != nil {
		return "", err
	}
	var did []string
	for _, s := range steps {
		if _, err := c.Do(ctx, s, opt); err != nil {
			return strings.Join(did, "\n"), err
		}
		did = append(did, s.Object.String()+": "+string(s.Action))
	}
	return strings.Join(did, "\n"), nil
}

// Each mistake of each kind in one file is told with its line, and nothing of the
// file is applied.
func TestMistakesOfOneFile(t *testing.T) {
	c := client(t)
	_, err := run(t, c, load(t, "testdata/bad.yaml"), apply.Options{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`bad.yaml:16:7: spec.containers[name="c"].comand: Pod has no such field;`,
		`bad.yaml:31:30: spec.template.spec.containers[name="x"].image: want a text, not the truth value true; put it in quotes;`,
		`bad.yaml:26:3: spec.replicas: want a number, not the text "many"`,
		`bad.yaml:34:1: kind: the CRD notebooks.kubeflow.org is missing: this version of the platform does not have Notebook yet;`,
		`bad.yaml:38:1: kind: the CRD of Thing is missing (things.example.org);`,
		`bad.yaml:42:1: kind: Kubernetes has no kind Podd in v1; did you mean Pod of v1?`,
		`bad.yaml:45:1: apiVersion: this cluster has Deployment, but not in version v1beta1; write apiVersion: apps/v1`,
		`bad.yaml:51:22: metadata.namespace: there is no namespace nope;`,
	} {
		if !strings.Contains(err.Error(), "testdata/"+want) {
			t.Errorf("not told: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
	if _, err := c.Core().ConfigMaps("default").Get(t.Context(), "fine", metav1.GetOptions{}); err == nil {
		t.Error("the part of the file that is right was applied")
	}
}

// What belongs together may come in one set, in any order.
func TestASetThatBringsItsNamespaceAndItsKind(t *testing.T) {
	c, set := client(t), load(t, "testdata/good.yaml")
	did, err := run(t, c, set, apply.Options{})
	want := "Namespace team: created\nCustomResourceDefinition things.example.com: created\nConfigMap settings: created\nThing one: created\nPod run: created"
	if err != nil || did != want {
		t.Fatalf("got\n%s\n%v", did, err)
	}
	did, err = run(t, c, load(t, "testdata/good.yaml"), apply.Options{})
	want = "Namespace team: unchanged\nCustomResourceDefinition things.example.com: unchanged\nConfigMap settings: unchanged\nThing one: unchanged\nPod run: joined"
	if err != nil || did != want {
		t.Fatalf("the second time: got\n%s\n%v", did, err)
	}
}

func TestARunOfTheSameName(t *testing.T) {
	c := client(t)
	write := func(name, command string) *manifests.Set {
		raw := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name + "\nspec:\n  restartPolicy: Never\n  containers:\n    - name: main\n      image: busybox\n      command: [\"" + command + "\"]\n"
		path := filepath.Join(t.TempDir(), "pod.yaml")
		if err := os.WriteFile(path, []byte(raw), 0o644); err != nil {
			t.Fatal(err)
		}
		return load(t, path)
	}
	expect := func(set *manifests.Set, opt apply.Options, want apply.Action) {
		t.Helper()
		did, err := run(t, c, set, opt)
		if err != nil || !strings.HasSuffix(did, ": "+string(want)) {
			t.Fatalf("got %q, %v, want %s", did, err, want)
		}
	}
	uid := func() string {
		t.Helper()
		p, err := c.Core().Pods("default").Get(t.Context(), "same", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(p.UID)
	}

	expect(write("same", "true"), apply.Options{}, apply.Created)
	first := uid()
	expect(write("same", "true"), apply.Options{}, apply.Joined)

	var running *apply.Running
	if _, err := run(t, c, write("same", "false"), apply.Options{}); !errors.As(err, &running) {
		t.Fatalf("a run under way with other content: got %v", err)
	}
	if uid() != first {
		t.Fatal("the refused run was replaced")
	}
	if _, err := run(t, c, write("same", "false\"]\n      nonsense: [\"x"), apply.Options{}); err == nil || errors.As(err, &running) {
		t.Fatalf("a mistake beside a run under way: got %v", err)
	}
	expect(write("same", "false"), apply.Options{Replace: true}, apply.Replaced)
	second := uid()
	if second == first {
		t.Fatal("--replace left the old one")
	}

	ended := []byte(`{"status":{"phase":"Succeeded"}}`)
	if _, err := c.Core().Pods("default").Patch(t.Context(), "same", types.MergePatchType, ended, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	expect(write("same", "false"), apply.Options{}, apply.Replaced)
	if uid() == second {
		t.Fatal("a run that has ended was not made again")
	}
}

func TestFindTakesNamesAsPeopleType(t *testing.T) {
	c := client(t)
	set := load(t, "testdata/find.yaml")
	if did, err := run(t, c, set, apply.Options{}); err != nil {
		t.Fatalf("%s %v", did, err)
	}
	for _, ref := range []string{"pod/two", "po/two", "pods/two", "Pod/two", "job/two", "jobs.batch/two", "only"} {
		if _, err := c.Find(t.Context(), "default", ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := c.Find(t.Context(), "default", "two"); err == nil || !strings.Contains(err.Error(), "job/two") || !strings.Contains(err.Error(), "pod/two") {
		t.Errorf("a name that two have: %v", err)
	}
	if _, err := c.Find(t.Context(), "default", "nobody"); err == nil || !strings.Contains(err.Error(), "there are: ") {
		t.Errorf("a name that none has: %v", err)
	}
}
