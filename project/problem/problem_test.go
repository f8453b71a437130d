package problem

import (
	"testing"

	"go.yaml.in/yaml/v3"
)

const doc = `apiVersion: v1
kind: Pod
metadata:
  labels:
    example.dev/part: a
spec:
  containers:
    - name: one
    - name: two
      image: x
      command:
        - echo
        - hello
`

func TestLocate(t *testing.T) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(doc), &n); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][2]int{
		"":                                    {1, 1},
		"kind":                                {2, 1},
		"spec.containers[1].image":            {10, 7},
		".spec.containers[1].command[1]":      {13, 11},
		`.spec.containers[name="two"].image`:  {10, 7},
		"metadata.labels[example.dev/part]":   {5, 5},
		"spec.containers[0].image":            {8, 7}, // absent: its parent
		"spec.restartPolicy":                  {6, 1},
		"spec.containers[7].image":            {7, 3},
		`spec.containers[name="three"].image`: {7, 3},
		"spec.containers[":                    {7, 3},
	} {
		line, column := Locate(&n, path)
		if line != want[0] || column != want[1] {
			t.Errorf("%q is at %d:%d, want %d:%d", path, line, column, want[0], want[1])
		}
	}
}

func TestSyntaxLine(t *testing.T) {
	for text, want := range map[string]struct {
		line    int
		message string
	}{
		"a: 1\nb:\n\t- x\n":       {3, "found character that cannot start any token"},
		"a: 1\nb: 2\nc: [x\n":     {3, "did not find expected ',' or ']'"},
		"a: b: c\n":               {1, "mapping values are not allowed in this context"},
		"a: 1\n  b: 2\n":          {2, "mapping values are not allowed in this context"},
		"a:\n  - x\n  y: 1\n":     {2, "did not find expected '-' indicator"},
		"[x\n":                    {2, "did not find expected ',' or ']'"},
		"a: 1\nb: 'x\nc: 2\nd: 3": {2, "found unexpected end of stream"},
	} {
		var n yaml.Node
		err := yaml.Unmarshal([]byte(text), &n)
		if err == nil {
			t.Errorf("%q was taken for YAML", text)
			continue
		}
		if line, message := SyntaxLine(err); line != want.line || message != want.message {
			t.Errorf("%q: got line %d, %q, want line %d, %q", text, line, message, want.line, want.message)
		}
	}
}

func TestNearest(t *testing.T) {
	fields := []string{"name", "manifests", "environment"}
	for word, want := range map[string]string{"manifest": "manifests", "enviroment": "environment", "nmae": "", "nam": "name", "xyz": ""} {
		if got := Nearest(word, fields); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestProblemNamesPlaceAndCure(t *testing.T) {
	p := Problem{File: "a.yaml", Line: 3, Column: 5, Field: "spec.x", Message: "unknown field", Cure: "write spec.y"}
	if got, want := p.Error(), "a.yaml:3:5: spec.x: unknown field; write spec.y"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := (List{}).Err(); err != nil {
		t.Errorf("an empty list is an error: %v", err)
	}
}
