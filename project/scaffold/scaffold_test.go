package scaffold

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mlstudio/studio/examples"
	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/manifests"
	"github.com/mlstudio/studio/test/files"
)

const manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"

func TestDeclare(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		found Found
		yaml  string
	}{
		"nothing": {nil, Found{}, "manifests: []\n"},
		"code": {map[string]string{"train.py": "", "lib/util.py": "x=1", "lib/main.py": "if __name__ == '__main__': pass", "test_a.py": "", "nb/a.ipynb": "{}", ".ipynb_checkpoints/a.ipynb": "{}", "venv/x.py": "", "requirements.txt": "numpy"},
			Found{Scripts: []string{"lib/main.py", "train.py"}, Notebooks: []string{"nb/a.ipynb"}, Requirements: "requirements.txt"},
			"manifests: []\nenvironment:\n  requirements: requirements.txt\n"},
		"manifests": {map[string]string{"job.yaml": manifest, "k8s/a.yml": manifest, "conf/params.yaml": "lr: 0.1\n", "over/kustomization.yaml": "resources: [base]", "over/base/a.yaml": manifest, "environment.yml": "x: 1"},
			Found{Manifests: []string{"over", ".", "k8s"}, Unread: []string{"environment.yml"}},
			"manifests:\n  - over\n  - .\n  - k8s\n"},
		"odd names": {map[string]string{"a: b/x.yaml": manifest, "deps/requirements.txt": ""},
			Found{Manifests: []string{"a: b"}, Requirements: "deps/requirements.txt"},
			"manifests:\n  - \"a: b\"\nenvironment:\n  requirements: deps/requirements.txt\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files.Folder(t, c.files)
			found, err := Look(dir)
			if err != nil || !reflect.DeepEqual(*found, c.found) {
				t.Fatalf("%v, found %+v, want %+v", err, *found, c.found)
			}
			text, err := Declare(dir, "mine", found)
			if want := "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\nname: mine\n" + c.yaml; err != nil || text != want {
				t.Fatalf("%v, wrote\n%s\nwant\n%s", err, text, want)
			}
			if p, err := project.Open(dir); err != nil || p.Name != "mine" {
				t.Errorf("what was written does not open: %+v, %v", p, err)
			}
			if _, err := Declare(dir, "other", found); err == nil || !strings.Contains(err.Error(), "it is there already") {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}

// Every template becomes a project that opens, under its new name, and whose manifests read.
func TestTemplates(t *testing.T) {
	all, err := Templates(examples.Files)
	if err != nil || len(all) < 3 {
		t.Fatal(all, err)
	}
	for _, tmpl := range all {
		t.Run(tmpl.Name, func(t *testing.T) {
			if tmpl.About == "" {
				t.Error("its README says nothing")
			}
			dir := filepath.Join(t.TempDir(), "new")
			files, err := Copy(tmpl, dir, "my-own")
			if err != nil || len(files) < 3 {
				t.Fatal(files, err)
			}
			p, err := project.Open(dir)
			if err != nil || p.Name != "my-own" {
				t.Fatalf("%+v, %v", p, err)
			}
			if _, err := manifests.Load(p.Manifests, nil); err != nil {
				t.Error(err)
			}
			before, err := os.ReadFile(filepath.Join(dir, files[0]))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Copy(tmpl, dir, "again"); err == nil || !strings.Contains(err.Error(), files[0]+": it is there already") {
				t.Errorf("a second time: %v", err)
			}
			if after, err := os.ReadFile(filepath.Join(dir, files[0])); err != nil || string(after) != string(before) {
				t.Errorf("the second time changed %s: %v", files[0], err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".studio-new-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
