package project

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlstudio/studio/project/problem"
)

// The version of studio.yaml that this program reads.
const (
	APIVersion = "studio.mlstudio.dev/v1alpha1"
	Kind       = "Project"
)

// file is studio.yaml as written.
type file struct {
	Name        string
	Manifests   []string
	Environment struct {
		Python       string
		Requirements string
	}
	Data map[string]struct {
		Path      string
		MountPath string `yaml:"mountPath"`
		Writable  bool
	}
	Secrets map[string]string
	Changes Changes

	path string
	node yaml.Node
}

// shape describes what may stand at one place of the file.
type shape struct {
	fields map[string]shape // a mapping
	each   *shape           // a mapping of names that the person chooses
	list   bool             // a list of texts
	truth  bool             // true or false
	want   string           // words for people
}

var text = func(want string) shape { return shape{want: want} }

var schema = shape{want: "a mapping of fields", fields: map[string]shape{
	"apiVersion": text("the text " + APIVersion),
	"kind":       text("the text " + Kind),
	"name":       text("a name"),
	"manifests":  {list: true, want: "a list of files and folders"},
	"environment": {want: "a mapping of fields", fields: map[string]shape{
		"python":       text("a version such as \"3.11\", or the path of an interpreter or environment"),
		"requirements": text("the path of a pip requirements file, or of a pyproject.toml"),
	}},
	"data": {want: "a mapping of names to folders", each: &shape{want: "a mapping of fields", fields: map[string]shape{
		"path":      text("the path of a folder on this machine"),
		"mountPath": text("the absolute path at which pods see it; without it, its own"),
		"writable":  {truth: true, want: "true where pods may change it"},
	}}},
	"changes": {want: "a mapping of fields", fields: map[string]shape{
		"restart": {list: true, want: "a list of patterns as in .gitignore; saving such a file ends the runs and makes them again"},
		"apply":   {list: true, want: "a list of patterns as in .gitignore; saving such a file applies the manifests again"},
		"nothing": {list: true, want: "a list of patterns as in .gitignore; saving such a file leads to nothing"},
	}},
	"secrets": {want: "a mapping of Secrets to files of variables", each: &shape{want: "the path of a file with lines NAME=value, such as .env"}},
}}

// parse reads studio.yaml strictly and names everything that is wrong with it.
func parse(path string, raw []byte) (*file, error) {
	f := &file{path: path}
	if err := yaml.Unmarshal(raw, &f.node); err != nil {
		line, message := problem.SyntaxLine(err)
		return nil, problem.List{{File: path, Line: line, Message: "this is not valid YAML: " + message}}
	}
	if f.node.Kind == 0 {
		return nil, problem.List{{File: path, Line: 1, Message: "the file is empty", Cure: "start with `apiVersion: " + APIVersion + "` and `kind: " + Kind + "`, or remove the file"}}
	}
	var wrong problem.List
	f.walk(f.node.Content[0], schema, "", &wrong)
	if len(wrong) > 0 {
		return nil, wrong
	}
	var header struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
	}
	if err := f.node.Decode(&header); err != nil {
		return nil, problem.List{{File: path, Message: err.Error()}}
	}
	if header.APIVersion != APIVersion {
		wrong = append(wrong, f.at("apiVersion", fmt.Sprintf("this version of Studio reads %s, not %q", APIVersion, header.APIVersion), "write `apiVersion: "+APIVersion+"`"))
	}
	if header.Kind != Kind {
		wrong = append(wrong, f.at("kind", fmt.Sprintf("want %s, not %q", Kind, header.Kind), "write `kind: "+Kind+"`"))
	}
	if err := f.node.Decode(f); err != nil {
		wrong = append(wrong, problem.Problem{File: path, Message: err.Error()})
	}
	if f.Name != "" && (len(f.Name) > 63 || !nameForm.MatchString(f.Name)) {
		wrong = append(wrong, f.at("name", fmt.Sprintf("%q is no name that Kubernetes takes", f.Name), fmt.Sprintf("use lower case letters, digits and dashes, such as %q", NameFor(f.Name))))
	}
	return f, wrong.Err()
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func (f *file) walk(n *yaml.Node, s shape, at string, wrong *problem.List) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	bad := func(n *yaml.Node, field, message, cure string) {
		*wrong = append(*wrong, problem.Problem{File: f.path, Line: n.Line, Column: n.Column, Field: field, Message: message, Cure: cure})
	}
	switch {
	case s.fields != nil:
		if n.Kind != yaml.MappingNode {
			bad(n, at, fmt.Sprintf("want %s, not %s", s.want, describe(n)), "")
			return
		}
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			field := strings.TrimPrefix(at+"."+key.Value, ".")
			known, ok := s.fields[key.Value]
			switch {
			case !ok:
				bad(key, field, "unknown field", meant(key.Value, s.fields))
			case seen[key.Value] > 0:
				bad(key, field, fmt.Sprintf("the field is already set on line %d", seen[key.Value]), "keep one of the two")
			default:
				seen[key.Value] = key.Line
				f.walk(value, known, field, wrong)
			}
		}
	case s.each != nil:
		if n.Kind != yaml.MappingNode {
			bad(n, at, fmt.Sprintf("want %s, not %s", s.want, describe(n)), "")
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			field := at + "." + key.Value
			if len(key.Value) > 63 || !nameForm.MatchString(key.Value) {
				bad(key, field, fmt.Sprintf("%q is no name that Kubernetes takes", key.Value), fmt.Sprintf("use lower case letters, digits and dashes, such as %q", NameFor(key.Value)))
			}
			f.walk(value, *s.each, field, wrong)
		}
	case s.truth:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			bad(n, at, fmt.Sprintf("want %s, not %s", s.want, describe(n)), "write true or false")
		}
	case s.list:
		if n.Kind != yaml.SequenceNode {
			bad(n, at, fmt.Sprintf("want %s, not %s", s.want, describe(n)), fmt.Sprintf("write `%s: [%s]`", at, n.Value))
			return
		}
		for i, item := range n.Content {
			f.walk(item, text("a path"), fmt.Sprintf("%s[%d]", at, i), wrong)
		}
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		bad(n, at, fmt.Sprintf("want %s, not %s", s.want, describe(n)), "")
	case n.Tag != "!!str":
		// 3.10 read as a number is 3.1: a version must be quoted to mean itself.
		bad(n, at, fmt.Sprintf("want %s, not %s", s.want, describe(n)), fmt.Sprintf("put it in quotes: %q", n.Value))
	}
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "the number " + n.Value
	case n.Tag == "!!bool":
		return "the truth value " + n.Value
	}
	return fmt.Sprintf("the text %q", n.Value)
}

func meant(word string, fields map[string]shape) string {
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := problem.Nearest(word, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "known here: " + strings.Join(names, ", ")
}

// at is a problem with a field of the file.
func (f *file) at(field, message, cure string) problem.Problem {
	line, column := problem.Locate(&f.node, field)
	return problem.Problem{File: f.path, Line: line, Column: column, Field: field, Message: message, Cure: cure}
}

// check looks at what the file names.
func (f *file) check(p *Project) error {
	var wrong problem.List
	if f.Manifests != nil {
		for i, m := range p.Manifests {
			if _, err := os.Stat(m); err != nil {
				wrong = append(wrong, f.at(fmt.Sprintf("manifests[%d]", i), fmt.Sprintf("%s is not there", f.Manifests[i]), "paths count from the folder of studio.yaml"))
			}
		}
	}
	if f.Environment.Requirements != "" {
		if _, err := os.Stat(p.Requirements); err != nil {
			wrong = append(wrong, f.at("environment.requirements", fmt.Sprintf("%s is not there", f.Environment.Requirements), "paths count from the folder of studio.yaml"))
		}
	}
	for name, d := range f.Data {
		field := "data." + name
		info, err := os.Stat(p.abs(d.Path))
		switch {
		case d.Path == "":
			wrong = append(wrong, f.at(field, "it names no folder", "write `path: FOLDER`"))
		case err != nil:
			wrong = append(wrong, f.at(field+".path", d.Path+" is not there", "paths count from the folder of studio.yaml; ~/ is the home"))
		case !info.IsDir():
			wrong = append(wrong, f.at(field+".path", d.Path+" is a file", "name its folder"))
		}
		if at := d.MountPath; at != "" && (!path.IsAbs(at) || path.Clean(at) != at || at == "/") {
			wrong = append(wrong, f.at(field+".mountPath", fmt.Sprintf("%q is no absolute path below /", at), "write one such as /data/"+name))
		}
	}
	for name, file := range f.Secrets {
		if info, err := os.Stat(p.abs(file)); err != nil || info.IsDir() {
			wrong = append(wrong, f.at("secrets."+name, file+" is not there", "make the file; each line is NAME=value"))
		}
	}
	wrong.Sort()
	return wrong.Err()
}
