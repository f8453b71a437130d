package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/project/manifests"
)

// home makes a home folder with the given files and works in it.
func home(t *testing.T, files ...string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", dir)
	for _, name := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text := ""
		if filepath.Base(name) == "studio.yaml" {
			text = "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\nname: " + filepath.Base(filepath.Dir(path)) + "\n"
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

func TestChoose(t *testing.T) {
	home(t, "digits/studio.yaml", "digits/manifests/a.yaml", "other/studio.yaml", "loose.yaml", "plain/job.yaml")
	for _, c := range []struct{ args, project, paths string }{
		{"digits", "digits", "digits/manifests"},
		{"digits/manifests", "digits", "digits/manifests"},
		{"digits/manifests/a.yaml", "digits", "digits/manifests/a.yaml"},
		{"loose.yaml", "", "loose.yaml"},
		{"plain/job.yaml", "plain", "plain/job.yaml"},
		{"plain", "plain", "plain"},
		{"-", "", "-"},
		{"- digits", "digits", "- digits/manifests"},
		{"gone.yaml", "", "gone.yaml"},
	} {
		s, err := choose(strings.Fields(c.args))
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		name := ""
		if s.project != nil {
			name = s.project.Name
		}
		if name != c.project || strings.Join(s.paths, " ") != c.paths {
			t.Errorf("%s: project %q, paths %q", c.args, name, s.paths)
		}
	}
	if _, err := choose([]string{"digits", "other"}); err == nil || !strings.Contains(err.Error(), "two projects") {
		t.Errorf("two projects at once: %v", err)
	}
	t.Chdir("digits")
	if s, err := choose(nil); err != nil || s.project.Name != "digits" || s.paths[0] != "manifests" {
		t.Errorf("the working directory: %+v, %v", s, err)
	}
}

func TestAnnotateTiesPodsToTheirProject(t *testing.T) {
	for text, want := range map[string][]string{
		"apiVersion: v1\nkind: Pod\n":                                 {"metadata"},
		"apiVersion: batch/v1\nkind: Job\n":                           {"metadata", "spec.template.metadata"},
		"apiVersion: batch/v1\nkind: CronJob\n":                       {"metadata", "spec.jobTemplate.spec.template.metadata"},
		"apiVersion: apps/v1\nkind: Deployment\n":                     {"metadata", "spec.template.metadata"},
		"apiVersion: trainer.kubeflow.org/v1alpha1\nkind: TrainJob\n": {"metadata"},
		"apiVersion: v1\nkind: ConfigMap\n":                           nil,
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n":      nil,
	} {
		set, err := manifests.Load([]string{"-"}, strings.NewReader(text+"metadata:\n  name: x\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := annotate(set.Objects, "digits-1234"); err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, place := range []string{"metadata", "spec.template.metadata", "spec.jobTemplate.spec.template.metadata"} {
			path := append(strings.Split(place, "."), "annotations", projects.Annotation)
			if id, _, _ := unstructured.NestedString(set.Objects[0].Object, path...); id == "digits-1234" {
				got++
			}
		}
		for _, place := range want {
			path := append(strings.Split(place, "."), "annotations", projects.Annotation)
			if id, _, _ := unstructured.NestedString(set.Objects[0].Object, path...); id != "digits-1234" {
				t.Errorf("%s has no annotation at %s", text, place)
			}
		}
		if got != len(want) {
			t.Errorf("%s: %d annotations, want %d", text, got, len(want))
		}
	}
}
