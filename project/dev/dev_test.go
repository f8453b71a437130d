package dev

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mlstudio/studio/project"
)

func open(t *testing.T, yaml string) *project.Project {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "manifests"), 0o755); err != nil {
		t.Fatal(err)
	}
	if yaml != "" {
		yaml = "apiVersion: " + project.APIVersion + "\nkind: Project\n" + yaml
		if err := os.WriteFile(filepath.Join(dir, project.FileName), []byte(yaml), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := project.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWithoutDeclaration(t *testing.T) {
	r := For(open(t, ""))
	for file, want := range map[string]Consequence{
		"train.py": Again, "src/model.py": Again, "run.sh": Again, "analysis.R": Again,
		"manifests/job.yaml": Apply, "manifests/base/job.yml": Apply, "studio.yaml": Apply,
		"config.yaml": Appear, "conf/x.yaml": Appear, "data.csv": Appear, "model.pkl": Appear, "metrics.json": Appear, "manifests/README.md": Appear, "explore.ipynb": Appear,
	} {
		if got := r.Of(file); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

func TestDeclared(t *testing.T) {
	r := For(open(t, "changes:\n  restart: [\"*.py\", conf/]\n  apply: [deploy.tmpl]\n  nothing: [\"*_test.py\", notes]\n"))
	for file, want := range map[string]Consequence{
		"train.py": Restart, "src/a.py": Restart, "conf/deep/x.yaml": Restart, "a_test.py": Nothing, "notes/todo.py": Nothing,
		"deploy.tmpl": Apply, "manifests/job.yaml": Apply, "run.sh": Again, "x.csv": Appear,
	} {
		if got := r.Of(file); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
	for _, c := range []struct {
		files, because []string
		want           Consequence
	}{
		{[]string{"x.csv", "train.py", "manifests/job.yaml"}, []string{"train.py"}, Restart},
		{[]string{"x.csv", "notes/a"}, []string{"x.csv"}, Appear},
		{[]string{"notes/a"}, []string{"notes/a"}, Nothing},
		{nil, nil, Nothing},
	} {
		if got, because := r.Decide(c.files); got != c.want || !slices.Equal(because, c.because) {
			t.Errorf("%v: %s because of %v, want %s because of %v", c.files, got, because, c.want, c.because)
		}
	}
}
