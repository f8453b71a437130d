package manifests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(s *Set) string {
	var all []string
	for _, o := range s.Objects {
		all = append(all, o.String())
	}
	return strings.Join(all, ", ")
}

const two = `# a comment first
apiVersion: v1
kind: Pod
metadata:
  name: one
spec:
  containers:
    - name: c
      image: x
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: two
data:
  text: |
    line
     --- not a mark
  flag: yes
`

func TestLoadOrdersAndLocates(t *testing.T) {
	dir := files(t, map[string]string{
		"b.yaml":      two,
		"a.json":      `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc"}}`,
		"values.yaml": "learning_rate: 0.1\n",
		"studio.yaml": "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\n",
		"notes.txt":   "apiVersion: v1",
	})
	s, err := Load([]string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(s), "ConfigMap two, Service svc, Pod one"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(s.Skipped) != 1 || filepath.Base(s.Skipped[0]) != "values.yaml" {
		t.Errorf("skipped %v", s.Skipped)
	}
	p := s.Objects[0].Problem("data.text", "wrong", "")
	if p.Line != 16 || p.Column != 3 || p.File != filepath.Join(dir, "b.yaml") {
		t.Errorf("data.text is at %s", p)
	}
	if p := s.Objects[2].Problem(".spec.containers[0].image", "wrong", ""); p.Line != 9 {
		t.Errorf("the image is at %s", p)
	}
	// As kubectl reads it: YAML 1.1 takes yes for true.
	if flag := s.Objects[0].Object["data"].(map[string]any)["flag"]; flag != true {
		t.Errorf("yes was read as %v", flag)
	}
}

func TestLoadListsAndStdin(t *testing.T) {
	s, err := Load([]string{"-"}, strings.NewReader("kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata:\n    name: s\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    generateName: p-\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(s), "Secret s, Pod p-*"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if p := s.Objects[1].Problem("metadata.generateName", "x", ""); p.Line != 11 || p.File != "standard input" {
		t.Errorf("at %s", p)
	}
}

func TestLoadKustomization(t *testing.T) {
	dir := files(t, map[string]string{
		"kustomization.yaml": "namePrefix: dev-\nresources: [pod.yaml]\nconfigMapGenerator:\n- name: made\n  literals: [a=b]\n",
		"pod.yaml":           "apiVersion: v1\nkind: Pod\nmetadata:\n  name: one\nspec: {}\n",
	})
	s, err := Load([]string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Objects) != 2 || !strings.HasPrefix(names(s), "ConfigMap dev-made-") || s.Objects[1].String() != "Pod dev-one" {
		t.Fatalf("got %s", names(s))
	}
	if p := s.Objects[1].Problem("spec", "x", ""); p.Line != 5 || filepath.Base(p.File) != "pod.yaml" {
		t.Errorf("at %s", p)
	}
}

func TestMistakesNameTheirPlace(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"tab":           {"apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n", "f.yaml:4: this is not valid YAML: found character that cannot start any token; indent with spaces, not tabs"},
		"second doc":    {two + "---\na: [1\n", "f.yaml:21: this is not valid YAML: did not find expected ',' or ']'"},
		"no kind":       {two + "---\napiVersion: v1\nkin: Pod\n", "f.yaml:21:1: kind: the object has no kind; kin may be a typing error"},
		"no apiVersion": {"kind: Pod\nmetadata: {name: x}\n", "f.yaml:1:1: apiVersion: the object has no apiVersion"},
		"kind a number": {"apiVersion: v1\nkind: 5\n", "f.yaml:2:1: kind: want a text, not 5"},
		"no name":       {"apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {}\n", "f.yaml:3:1: metadata.name: the object has no name; set metadata.name"},
		"no name in a list": {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {}\n",
			"f.yaml:6:3: metadata.name: the object has no name; set metadata.name"},
		"key twice": {"apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  name: y\n", "f.yaml:5: the field name is set twice; keep one of the two"},
		"a text":    {"hello\n", "f.yaml:1:1: want an object, a mapping with apiVersion and kind"},
		"nothing":   {"# later\n", "f.yaml: the file holds no object; write a manifest"},
		"twins":     {two + "---\n" + two, "f.yaml:25:3: metadata.name: Pod one is already in f.yaml, line 5; rename or remove one of the two"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files(t, map[string]string{"f.yaml": c.text})
			_, err := Load([]string{filepath.Join(dir, "f.yaml")}, nil)
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), dir+"/", ""); !strings.HasPrefix(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestMissingPathsAndEmptyFolders(t *testing.T) {
	dir := files(t, map[string]string{"job.yaml": two, "empty/readme.md": ""})
	_, err := Load([]string{filepath.Join(dir, "jobs.yaml"), filepath.Join(dir, "empty")}, nil)
	want := []string{"jobs.yaml: there is no such file or folder; did you mean " + dir + "/job.yaml?", "empty: no Kubernetes manifest lies in this folder"}
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("got %v, want %s", err, w)
		}
	}
}

func TestSplitKeepsLines(t *testing.T) {
	docs := split([]byte("a: 1\n--- # comment\nb: 1\n--- {c: 1}\nd\n---\n"))
	want := []document{{[]byte("a: 1\n"), 0}, {[]byte("b: 1\n"), 2}, {[]byte(" {c: 1}\nd\n"), 3}, {nil, 6}}
	if len(docs) != len(want) {
		t.Fatalf("got %d documents, want %d", len(docs), len(want))
	}
	for i := range want {
		if string(docs[i].text) != string(want[i].text) || docs[i].offset != want[i].offset {
			t.Errorf("document %d: got %q at %d, want %q at %d", i, docs[i].text, docs[i].offset, want[i].text, want[i].offset)
		}
	}
}
