package project

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlstudio/studio/test/files"
)

const header = "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\n"

func TestOpenDeclared(t *testing.T) {
	dir := files.Folder(t, map[string]string{
		"studio.yaml":       header + "name: mine\nmanifests: [deploy, job.yaml]\nenvironment:\n  python: \"3.11\"\n  requirements: deps/base.txt\n",
		"deploy/a.yaml":     "",
		"job.yaml":          "",
		"deps/base.txt":     "",
		"manifests/no.yaml": "",
	})
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "mine" || !p.Declared || p.Python != "3.11" || p.Requirements != filepath.Join(dir, "deps/base.txt") {
		t.Errorf("got %+v", p)
	}
	if want := []string{filepath.Join(dir, "deploy"), filepath.Join(dir, "job.yaml")}; !slices.Equal(p.Manifests, want) {
		t.Errorf("manifests %v, want %v", p.Manifests, want)
	}
}

func TestOpenDefaults(t *testing.T) {
	dir := files.Folder(t, map[string]string{"My Project/manifests/a.yaml": "", "My Project/requirements.txt": "", "flat/a.yaml": "", "k/kustomization.yaml": "", "k/manifests/a.yaml": ""})
	p, err := Open(filepath.Join(dir, "My Project"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "my-project" || p.Declared || p.Requirements == "" || !strings.HasSuffix(p.Manifests[0], "/manifests") {
		t.Errorf("got %+v", p)
	}
	if p, err = Open(filepath.Join(dir, "k")); err != nil || p.Manifests[0] != p.Dir {
		t.Errorf("a kustomization: got %+v, %v", p, err)
	}
	p, err = Open(filepath.Join(dir, "flat"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Manifests[0] != p.Dir || p.Requirements != "" {
		t.Errorf("got %+v", p)
	}
}

func TestStudioYAMLErrors(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"typo":           {header + "manifest: [a]\n", "studio.yaml:3:1: manifest: unknown field; did you mean manifests?"},
		"nested typo":    {header + "environment:\n  pyton: \"3.11\"\n", "studio.yaml:4:3: environment.pyton: unknown field; did you mean python?"},
		"unknown":        {header + "colour: red\n", "studio.yaml:3:1: colour: unknown field; known here: apiVersion, changes, data, environment, kind, manifests, name, secrets"},
		"version number": {header + "environment:\n  python: 3.10\n", `studio.yaml:4:11: environment.python: want a version such as "3.11", or the path of an interpreter or environment, not the number 3.10; put it in quotes: "3.10"`},
		"text for list":  {header + "manifests: deploy\n", "studio.yaml:3:12: manifests: want a list of files and folders, not the text \"deploy\"; write `manifests: [deploy]`"},
		"number in list": {header + "manifests:\n  - 5\n", `studio.yaml:4:5: manifests[0]: want a path, not the number 5; put it in quotes: "5"`},
		"list for text":  {header + "name: [a]\n", "studio.yaml:3:7: name: want a name, not a list"},
		"twice":          {header + "name: a\nname: b\n", "studio.yaml:4:1: name: the field is already set on line 3; keep one of the two"},
		"bad name":       {header + "name: My Model\n", `studio.yaml:3:1: name: "My Model" is no name that Kubernetes takes; use lower case letters, digits and dashes, such as "my-model"`},
		"version":        {"apiVersion: studio.mlstudio.dev/v9\nkind: Project\n", "studio.yaml:1:1: apiVersion: this version of Studio reads studio.mlstudio.dev/v1alpha1, not \"studio.mlstudio.dev/v9\"; write `apiVersion: studio.mlstudio.dev/v1alpha1`"},
		"no header":      {"name: a\n", "studio.yaml:1:1: kind: want Project, not \"\"; write `kind: Project`"},
		"missing":        {header + "manifests: [a, deploy]\n", "studio.yaml:3:16: manifests[1]: deploy is not there; paths count from the folder of studio.yaml"},
		"syntax":         {header + "name: [a\n", "studio.yaml:3: this is not valid YAML: did not find expected ',' or ']'"},
		"empty":          {"", "studio.yaml:1: the file is empty; start with"},
		"data name":      {header + "data:\n  My Set: {path: a}\n", `studio.yaml:4:3: data.My Set: "My Set" is no name that Kubernetes takes; use lower case letters, digits and dashes, such as "my-set"`},
		"data gone":      {header + "data:\n  set:\n    path: gone\n", "studio.yaml:5:5: data.set.path: gone is not there; paths count from"},
		"data file":      {header + "data:\n  set: {path: a}\n", "studio.yaml:4:9: data.set.path: a is a file; name its folder"},
		"data nowhere":   {header + "data:\n  set: {writable: true}\n", "studio.yaml:4:3: data.set: it names no folder; write `path: FOLDER`"},
		"mount relative": {header + "data:\n  set: {path: ., mountPath: data}\n", `studio.yaml:4:18: data.set.mountPath: "data" is no absolute path below /; write one such as /data/set`},
		"writable text":  {header + "data:\n  set: {path: ., writable: maybe}\n", "studio.yaml:4:28: data.set.writable: want true where pods may change it, not the text \"maybe\"; write true or false"},
		"secret gone":    {header + "secrets:\n  app: .env\n", "studio.yaml:4:3: secrets.app: .env is not there; make the file"},
		"not a mapping":  {"- a\n", "studio.yaml:1:1: want a mapping of fields, not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files.Folder(t, map[string]string{"studio.yaml": c.yaml, "a": ""})
			_, err := Open(dir)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(err.Error(), dir+"/", "")
			found := slices.ContainsFunc(strings.Split(got, "\n"), func(line string) bool { return strings.HasPrefix(line, c.want) })
			if !found {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestOf(t *testing.T) {
	home := files.Folder(t, map[string]string{
		"loose.yaml":                "",
		"work/studio.yaml":          header,
		"work/manifests/deep/a.yml": "",
		"plain/job.yaml":            "",
	})
	t.Setenv("HOME", home)
	t.Setenv("TMPDIR", "/nowhere")
	for path, want := range map[string]string{
		"work/manifests/deep/a.yml": "work",
		"work/manifests":            "work",
		"work":                      "work",
		"plain/job.yaml":            "plain",
		"loose.yaml":                "", // the home itself is never a project
	} {
		p, err := Of(filepath.Join(home, path))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		got := ""
		if p != nil {
			got, _ = filepath.Rel(home, p.Dir)
		}
		if got != want {
			t.Errorf("%s belongs to %q, want %q", path, got, want)
		}
	}
	for _, wide := range []string{"/", "/usr/lib", filepath.Dir(home)} {
		if p, err := Of(wide); err != nil || p != nil {
			t.Errorf("%s was taken for a project: %+v, %v", wide, p, err)
		}
	}
}

func TestData(t *testing.T) {
	dir := files.Folder(t, map[string]string{
		"p/studio.yaml": header + "data:\n  near: {path: sets/near}\n  far: {path: ../far, mountPath: /data/far, writable: true}\nsecrets:\n  app: .env\n",
		"p/sets/near/x": "", "far/y": "", "p/.env": "A=b\n",
	})
	p, err := Open(filepath.Join(dir, "p"))
	if err != nil {
		t.Fatal(err)
	}
	near, far := filepath.Join(dir, "p/sets/near"), filepath.Join(dir, "far")
	if got, want := p.Data["near"], (Data{Path: near, MountPath: near}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := p.Data["far"], (Data{Path: far, MountPath: "/data/far", Writable: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := p.Secrets["app"], filepath.Join(dir, "p/.env"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
