//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Code runs as a person types it: scripts, functions and notebooks of a folder.
func TestJourneyOfCode(t *testing.T) {
	e := newEngine(t)
	dir := filepath.Join(tempFolder(t), "work")
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := write("steps/show.py", "import os, sys\nprint('args', sys.argv[1:], 'in', os.getcwd(), os.environ.get('COLOUR'))\nopen('made-by-show', 'w').write('x')\nsys.exit(int(os.environ.get('CODE', '0')))\n")
	write("studio.yaml", "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\nname: work\nmanifests: []\n")
	e.up()

	t.Run("a script", func(t *testing.T) {
		e := e.in(t)
		r := e.studio("run", script, "--param", "epochs=3", "--env", "COLOUR=red", "--", "x y")
		if want := "args ['--epochs=3', 'x y'] in " + dir + " red\n"; !strings.Contains(r.stdout, want) {
			t.Errorf("want %q in %s", want, r)
		}
		if _, err := os.Stat(filepath.Join(dir, "made-by-show")); err != nil {
			t.Errorf("what the script wrote is not in the project: %v", err)
		}
	})
	t.Run("its exit code is the command's", func(t *testing.T) {
		e := e.in(t)
		if r := e.try("run", script, "--env", "CODE=7"); r.code != 7 || !strings.Contains(r.stdout, "exited with code 7") {
			t.Error(r)
		}
	})
	t.Run("two at once", func(t *testing.T) {
		e := e.in(t)
		ends := make(chan result, 2)
		for range 2 {
			go func() { ends <- e.try("run", script, "-o", "json") }()
		}
		names := map[string]bool{}
		for range 2 {
			r := <-ends
			var runs []struct{ Name, Outcome string }
			if err := json.Unmarshal([]byte(r.stdout), &runs); err != nil || len(runs) != 1 || runs[0].Outcome != "Succeeded" {
				t.Fatalf("%v: %s", err, r)
			}
			names[runs[0].Name] = true
		}
		if len(names) != 2 {
			t.Errorf("both runs have one name: %v", names)
		}
	})
	t.Run("a function", func(t *testing.T) {
		e := e.in(t)
		file := write("lib/f.py", "from g import more\ndef build(days, name='x'):\n    return {'built': days + more, 'name': name}\n")
		write("lib/g.py", "more = 12\n")
		if r := e.studio("run", file+":build", "-p", "days=30"); !strings.Contains(r.stdout, "{'built': 42, 'name': 'x'}") {
			t.Error(r)
		}
		if r := e.try("run", file+":biuld"); r.code != 1 || !strings.Contains(r.stderr, "has no function biuld") {
			t.Error(r)
		}
	})
	t.Run("a notebook", func(t *testing.T) {
		e := e.in(t)
		notebook := write("explore.ipynb", `{"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "of-another-machine", "display_name": "x", "language": "python"}}, "cells": [
			{"id": "a", "cell_type": "code", "execution_count": null, "outputs": [], "metadata": {"tags": ["parameters"]}, "source": "rows = 5"},
			{"id": "b", "cell_type": "code", "execution_count": null, "outputs": [], "metadata": {}, "source": "print('doubled', rows * 2)"}]}`)
		before, err := os.ReadFile(notebook)
		if err != nil {
			t.Fatal(err)
		}
		r := e.studio("run", notebook, "-p", "rows=21")
		if !strings.Contains(r.stdout, "doubled 42") {
			t.Error(r)
		}
		copies, err := filepath.Glob(filepath.Join(dir, "executed", "explore-*.ipynb"))
		if err != nil || len(copies) != 1 {
			t.Fatalf("executed copies: %v, %v", copies, err)
		}
		if raw, err := os.ReadFile(copies[0]); err != nil || !strings.Contains(string(raw), `doubled 42`) {
			t.Errorf("the copy lacks the output: %v", err)
		}
		if after, err := os.ReadFile(notebook); err != nil || string(after) != string(before) {
			t.Errorf("the source was changed: %v", err)
		}
		if r := e.try("run", notebook, "-p", "row=1"); r.code != 1 || !strings.Contains(r.stderr, "did you mean rows?") {
			t.Error(r)
		}
	})
	t.Run("as a TrainJob", func(t *testing.T) {
		e := e.in(t)
		if r := e.studio("run", script, "--as", "train"); !strings.Contains(r.stdout, "TrainJob show-") || !strings.Contains(r.stdout, "args []") {
			t.Error(r)
		}
	})
	t.Run("files outside volumes are got back", func(t *testing.T) {
		e := e.in(t)
		file := write("leave.py", "import os\nos.makedirs('/srv/out')\nopen('/srv/out/model.txt', 'w').write('weights')\n")
		e.studio("run", file, "--name", "leaver")
		// They are kept when the container is removed.
		if err := e.client().BatchV1().Jobs("default").Delete(context.Background(), "leaver", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(2 * time.Minute) // the kubelet collects dead containers once a minute
		for !strings.Contains(e.studio("recover").stdout, "/srv/out/model.txt") {
			if time.Now().After(deadline) {
				t.Fatal(e.studio("recover"))
			}
			time.Sleep(200 * time.Millisecond)
		}
		to := filepath.Join(dir, "back")
		e.studio("recover", "leaver", "--to", to)
		if raw, err := os.ReadFile(filepath.Join(to, "srv/out/model.txt")); err != nil || string(raw) != "weights" {
			t.Errorf("got back %q, %v", raw, err)
		}
		if r := e.try("recover", "leaver", "--to", to); r.code == 0 {
			t.Errorf("it wrote over what is there: %s", r)
		}
		if r := e.try("recover", "nobody"); r.code != 1 || !strings.Contains(r.stderr, "studio recover lists") {
			t.Error(r)
		}
	})
	t.Run("data and secrets", func(t *testing.T) {
		e := e.in(t)
		outside := filepath.Join(filepath.Dir(dir), "numbers")
		if err := os.MkdirAll(outside, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(outside, "n.txt"), []byte("42"), 0o644); err != nil {
			t.Fatal(err)
		}
		write("studio.yaml", "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\nname: work\nmanifests: []\n"+
			"data:\n  numbers: {path: "+outside+", mountPath: /data/numbers}\n  cache: {path: cache, writable: true}\nsecrets:\n  app: .env\n")
		write("cache/keep", "")
		write(".env", "TOKEN='of the file'\n")
		file := write("use.py", "import os\nprint('read', open('/data/numbers/n.txt').read(), os.environ['TOKEN'], os.environ['OTHER'])\n"+
			"open('cache/new', 'w').write('x')\ntry:\n    open('/data/numbers/w', 'w')\nexcept OSError as e:\n    print('refused', e.errno)\n")
		if r := e.pipe("typed unseen\n", "secret", "set", "typed", "OTHER"); r.code != 0 || strings.Contains(r.said(), "unseen") {
			t.Fatal(r)
		}
		r := e.studio("run", file, "--secret", "app", "--secret", "typed/OTHER")
		for _, want := range []string{"read 42 of the file typed unseen\n", "refused 30\n"} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("want %q in %s", want, r)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "cache/new")); err != nil {
			t.Errorf("what was written to writable data is not there: %v", err)
		}
		write(".env", "TOKEN=changed\n")
		if r := e.studio("run", file, "--secret", "app", "--env", "OTHER=x"); !strings.Contains(r.stdout, "read 42 changed x") {
			t.Error(r)
		}
		if r := e.studio("secret", "list"); r.stdout != "app  TOKEN\ntyped  OTHER\n" {
			t.Error(r)
		}
		if r := e.studio("run", file, "--secret", "app", "--dry-run", "-o", "yaml"); strings.Contains(r.said(), "changed") {
			t.Errorf("a plan shows the value: %s", r)
		}
		e.studio("secret", "rm", "typed")
		if r := e.try("secret", "rm", "typed"); r.code == 0 {
			t.Errorf("a second removal: %s", r)
		}
	})
	t.Run("the printed object runs by itself", func(t *testing.T) {
		e := e.in(t)
		r := e.studio("run", script, "--name", "printed", "--env", "COLOUR=blue", "--dry-run", "-o", "yaml")
		manifest := write("printed.yaml", r.stdout)
		if r := e.studio("run", manifest); !strings.Contains(r.stdout, "blue") {
			t.Error(r)
		}
	})
}
