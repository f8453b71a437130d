package entry

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlstudio/studio/test/files"
)

// python is the interpreter that the code is checked with; a project always has one.
const python = "/usr/bin/python3"

// folder makes a folder of files and goes there.
func folder(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := files.Folder(t, content)
	t.Chdir(dir)
	return dir
}

type cell struct {
	Type   string `json:"cell_type"`
	Source any    `json:"source"`
	Meta   struct {
		Tags []string `json:"tags,omitempty"`
	} `json:"metadata"`
}

func notebook(t *testing.T, cells ...cell) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"cells": cells, "metadata": map[string]any{}, "nbformat": 4, "nbformat_minor": 5})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func code(source any, tags ...string) cell {
	c := cell{Type: "code", Source: source}
	c.Meta.Tags = tags
	return c
}

func TestFind(t *testing.T) {
	folder(t, map[string]string{"train.py": "", "My Steps/Fit_Model.py": "", "a.ipynb": "{}", "go.sh": "", "9.py": "", "d.py/x": ""})
	for arg, want := range map[string]Entry{
		"train.py":                   {Python, "train.py", ""},
		"My Steps/Fit_Model.py":      {Python, "My Steps/Fit_Model.py", ""},
		"My Steps/Fit_Model.py:main": {Function, "My Steps/Fit_Model.py", "main"},
		"a.ipynb":                    {Notebook, "a.ipynb", ""},
		"go.sh":                      {Shell, "go.sh", ""},
	} {
		if !Is(arg) {
			t.Errorf("%s is not taken for code", arg)
		}
		if got, err := Find(arg); err != nil || got != want {
			t.Errorf("%s: %+v, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"job.yaml", "examples/digits", "-", "train.py:", "train.py:a.b", "x.py:3d"} {
		if Is(arg) {
			t.Errorf("%s is taken for code", arg)
		}
	}
	if _, err := Find("trian.py"); err == nil || err.Error() != "trian.py: there is no such file; did you mean train.py?" {
		t.Errorf("a mistyped name: %v", err)
	}
	if _, err := Find("d.py"); err == nil || !strings.Contains(err.Error(), "this is a folder") {
		t.Errorf("a folder: %v", err)
	}
	for e, want := range map[Entry]string{
		{Path: "a/Fit_Model.v2.py"}: "fit-model-v2", {Path: "9.py"}: "run-9", {Path: "한글.py"}: "run",
		{Path: "x.py", Func: "_do_it"}: "do-it", {Path: strings.Repeat("a", 99) + ".py"}: strings.Repeat("a", 30),
	} {
		if got := e.Name(); got != want {
			t.Errorf("%+v is named %q, want %q", e, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	folder(t, map[string]string{
		"fine.py":    "import json, os.path\nfrom helper import x\ntry:\n    import cupy\nexcept ImportError:\n    cupy = None\ndef f():\n    import onlyhere\n",
		"helper.py":  "x = 1\n",
		"lacks.py":   "import os\n\nimport nosuchmodule.sub, json\nfrom alsonot.there import y\n",
		"broken.py":  "x = 1\ndef f(:\n",
		"funcs.py":   "def train(data, *, rows=3, deep): pass\ndef loose(**kw): pass\n",
		"nul.py":     "x = 1\x00",
		"nb.ipynb":   notebook(t, code([]string{"lr = 0.1\n", "rows: int = 5"}, "parameters"), cell{Type: "markdown", Source: "def ("}, code("!pip list\n%timeit x\nprint(lr)"), code("%%bash\nif then fi")),
		"none.ipynb": notebook(t, code("import nosuchmodule\n"), code("x = (")),
		"no.ipynb":   "{\"cells\": 3}",
		"text.ipynb": "hello",
	})
	for _, c := range []struct {
		arg, params string
		want        []string // parts of the error; none for no error
	}{
		{"fine.py", "", nil},
		{"fine.py", "anything=1", nil},
		{"lacks.py", "", []string{"lacks.py:3: it imports nosuchmodule, which " + python + " does not have; add nosuchmodule to the requirements", "lacks.py:4: it imports alsonot"}},
		{"broken.py", "", []string{"broken.py:2:7: this is not valid Python: "}},
		{"nul.py", "", []string{"nul.py"}},
		{"funcs.py:train", "data=a deep=2", nil},
		{"funcs.py:train", "data=a rows=1 deep=2", nil},
		{"funcs.py:train", "dta=a", []string{"funcs.py:1: train takes no dta; did you mean data?", "train needs data; give it: --param data=VALUE", "train needs deep"}},
		{"funcs.py:loose", "any=1", nil},
		{"funcs.py:tran", "", []string{"funcs.py: it has no function tran at its top; did you mean train?"}},
		{"nb.ipynb", "", nil},
		{"nb.ipynb", "lr=1 rows=2", nil},
		{"nb.ipynb", "row=2", []string{"nb.ipynb: its parameters cell does not set row; did you mean rows?"}},
		{"none.ipynb", "", []string{"none.ipynb, cell 2, line 1: this is not valid Python"}},
		{"no.ipynb", "", []string{"no.ipynb: this is no notebook"}},
		{"text.ipynb", "", []string{"text.ipynb: this is no notebook"}},
	} {
		t.Run(c.arg+" "+c.params, func(t *testing.T) {
			e, err := Find(c.arg)
			if err != nil {
				t.Fatal(err)
			}
			var params []Param
			for _, text := range strings.Fields(c.params) {
				p, err := ParseParam(text)
				if err != nil {
					t.Fatal(err)
				}
				params = append(params, p)
			}
			err = e.Check(context.Background(), python, params)
			if len(c.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			}
		})
	}
}

// The command works in a plain shell, in the project's folder: it needs nothing of Studio.
func TestCommandRuns(t *testing.T) {
	dir := folder(t, map[string]string{
		"lib/steps.py": "import other\ndef build(days, name='x', deep=None):\n    return f'{other.hello} {days + 1} {name} {deep}'\ndef quiet(): pass\n",
		"lib/other.py": "hello = 'hi'\n",
		"show.py":      "import sys\nprint(sys.argv[1:])\n",
		"show.sh":      "echo \"$@\"\n",
	})
	for _, c := range []struct {
		arg    string
		params []string
		args   []string
		want   string
	}{
		{"show.py", nil, nil, "[]"},
		{"show.py", []string{"epochs=3", "lr=1e-3"}, []string{"--", "a b"}, "['--epochs=3', '--lr=1e-3', '--', 'a b']"},
		{"show.sh", []string{"n=3"}, []string{"a b"}, "--n=3 a b"},
		{"lib/steps.py:build", []string{"days=2", "name=a b", "deep={k: [1, null]}"}, nil, "hi 3 a b {'k': [1, None]}"},
		{"lib/steps.py:quiet", nil, nil, ""},
	} {
		e, err := Find(c.arg)
		if err != nil {
			t.Fatal(err)
		}
		var params []Param
		for _, text := range c.params {
			p, err := ParseParam(text)
			if err != nil {
				t.Fatal(err)
			}
			params = append(params, p)
		}
		command, err := e.Command(dir, params, c.args, "")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(command.Args[0], command.Args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("%s: %v, %q, want %q", c.arg, err, got, c.want)
		}
	}
}

func TestCommand(t *testing.T) {
	dir := folder(t, map[string]string{"sub/nb.ipynb": "{}", "in/x.py": "def f(): pass\n"})
	e := Entry{Kind: Notebook, Path: "sub/nb.ipynb"}
	c, err := e.Command(dir, []Param{{"rows", "3"}}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Args[3:], []string{"papermill", "sub/nb.ipynb", "executed/$(RUN).ipynb", "-p", "rows", "3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if c, _ := e.Command(dir, nil, nil, "out/a.ipynb"); c.Output != "out/a.ipynb" || len(c.Env) > 0 {
		t.Errorf("a named output: %+v", c)
	}
	if _, err := e.Command(filepath.Join(dir, "in"), nil, nil, ""); err == nil || !strings.Contains(err.Error(), "outside the project") {
		t.Errorf("a file of another folder: %v", err)
	}
	if _, err := e.Command(dir, nil, []string{"x"}, ""); err == nil || !strings.Contains(err.Error(), "--param name=value") {
		t.Errorf("arguments for a notebook: %v", err)
	}
	for _, bad := range []string{"x", "=3", "a b=1", "1a=2"} {
		if _, err := ParseParam(bad); err == nil {
			t.Errorf("%q is taken for a parameter", bad)
		}
	}
}
