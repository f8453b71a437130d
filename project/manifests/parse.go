package manifests

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/project/problem"
)

// source is one document of a file.
type source struct {
	file string
	// offset is the number of lines before the document.
	offset int
	node   *yaml.Node
	// within is the path of the object in its document, for items of a List.
	within string
}

func (s source) locate(field string) (line, column int) {
	if s.node == nil {
		return 0, 0
	}
	path := s.within
	if field != "" {
		path += "." + strings.TrimPrefix(field, ".")
	}
	line, column = problem.Locate(s.node, path)
	return line + s.offset, column
}

// document is one part of a file and the number of lines before it.
type document struct {
	text   []byte
	offset int
}

// split cuts a file at its document marks. YAML allows them nowhere else at the
// start of a line, not even in a block of text.
func split(raw []byte) []document {
	var docs []document
	var text []byte
	start, line := 0, 0
	for l := range bytes.Lines(raw) {
		line++
		if mark := bytes.TrimRight(l, " \t\r\n"); bytes.HasPrefix(l, []byte("---")) && (len(mark) == 3 || mark[3] == ' ' || mark[3] == '\t') {
			docs = append(docs, document{text, start})
			text, start = nil, line
			if rest := mark[3:]; len(bytes.TrimSpace(rest)) > 0 && bytes.TrimSpace(rest)[0] != '#' {
				text = append(append(text, rest...), '\n') // content may follow on the same line
				start = line - 1
			}
			continue
		}
		text = append(text, l...)
	}
	return append(docs, document{text, start})
}

// read is what one file or kustomization gave.
type read struct {
	objects []Object
	wrong   problem.List
	// foreign: nothing in it looks like a Kubernetes object.
	foreign bool
}

// parse reads the objects of one file. With optional a file none of whose
// documents looks like a Kubernetes object is foreign rather than wrong.
func parse(file string, raw []byte, optional bool) (r read) {
	alien, some := 0, 0
	for _, doc := range split(raw) {
		var node yaml.Node
		if err := yaml.Unmarshal(doc.text, &node); err != nil {
			line, message := problem.SyntaxLine(err)
			line = min(line, max(1, bytes.Count(doc.text, []byte("\n")))) // what is open at the end is said of the line after it
			r.wrong = append(r.wrong, problem.Problem{File: file, Line: line + doc.offset, Message: "this is not valid YAML: " + message, Cure: hint(message)})
			continue
		}
		if node.Kind == 0 || node.Content[0].Tag == "!!null" {
			continue // only comments
		}
		some++
		src := source{file: file, offset: doc.offset, node: &node}
		object, bad := decode(doc, src)
		if bad != nil && optional && !looksLikeObject(&node) {
			alien++
			continue
		}
		if bad != nil {
			r.wrong = append(r.wrong, *bad)
			continue
		}
		found, worse := expand(object, src)
		r.objects, r.wrong = append(r.objects, found...), append(r.wrong, worse...)
	}
	if some == 0 && !optional && len(r.wrong) == 0 {
		r.wrong = append(r.wrong, problem.Problem{File: file, Message: "the file holds no object", Cure: "write a manifest with apiVersion, kind and metadata.name"})
	}
	r.foreign = optional && len(r.wrong) == 0 && len(r.objects) == 0 && alien == some
	return r
}

// hint says what usually is behind a parser's words.
func hint(message string) string {
	switch {
	case strings.Contains(message, "found character that cannot start any token"):
		return "indent with spaces, not tabs, and put values that start with % @ or ` in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		return "check the indentation, and put values that hold `: ` in quotes"
	case strings.Contains(message, "did not find expected"):
		return "check the indentation and the closing brackets of what starts here"
	}
	return ""
}

func looksLikeObject(node *yaml.Node) bool {
	var head struct {
		APIVersion any `yaml:"apiVersion"`
		Kind       any `yaml:"kind"`
	}
	return node.Decode(&head) == nil && head.APIVersion != nil && head.Kind != nil
}

// decode reads a document as kubectl does: YAML 1.1, and no key twice.
func decode(doc document, src source) (*unstructured.Unstructured, *problem.Problem) {
	at := func(field, message, cure string) *problem.Problem {
		line, column := src.locate(field)
		return &problem.Problem{File: src.file, Line: line, Column: column, Field: field, Message: message, Cure: cure}
	}
	if src.node.Content[0].Kind != yaml.MappingNode {
		return nil, at("", "want an object, a mapping with apiVersion and kind", "")
	}
	asJSON, err := sigsyaml.YAMLToJSONStrict(doc.text)
	if err != nil {
		if m := twice.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1])
			return nil, &problem.Problem{File: src.file, Line: line + doc.offset, Message: fmt.Sprintf("the field %s is set twice", m[2]), Cure: "keep one of the two"}
		}
		return nil, at("", err.Error(), "")
	}
	for _, field := range []string{"apiVersion", "kind"} {
		var probe map[string]any
		if err := sigsyaml.Unmarshal(asJSON, &probe); err != nil {
			return nil, at("", err.Error(), "")
		}
		value, present := probe[field]
		if text, isText := value.(string); !present || !isText || text == "" {
			return nil, at(field, missing(field, value, probe), "")
		}
	}
	u := new(unstructured.Unstructured)
	if err := u.UnmarshalJSON(asJSON); err != nil {
		return nil, at("", err.Error(), "")
	}
	return u, nil
}

// missing says why apiVersion or kind is not usable.
func missing(field string, value any, object map[string]any) string {
	if value != nil {
		return fmt.Sprintf("want a text, not %v", value)
	}
	var keys []string
	for k := range object {
		keys = append(keys, k)
	}
	if typo := problem.Nearest(field, keys); typo != "" {
		return fmt.Sprintf("the object has no %s; %s may be a typing error", field, typo)
	}
	return "the object has no " + field
}

// twice is how the library says that a key is there already.
var twice = regexp.MustCompile(`line (\d+): key "?([^"]*)"? already set in map`)

// expand takes lists apart and checks that each object has a name.
func expand(u *unstructured.Unstructured, src source) (objects []Object, wrong problem.List) {
	if !u.IsList() {
		o := Object{Unstructured: u, source: src}
		if u.GetName() == "" && u.GetGenerateName() == "" {
			return nil, problem.List{o.Problem("metadata.name", "the object has no name", "set metadata.name")}
		}
		return []Object{o}, nil
	}
	i := 0
	err := u.EachListItem(func(item runtime.Object) error {
		at := src
		at.within = fmt.Sprintf("%s.items[%d]", src.within, i)
		i++
		found, bad := expand(item.(*unstructured.Unstructured), at)
		objects, wrong = append(objects, found...), append(wrong, bad...)
		return nil
	})
	if err != nil {
		o := Object{Unstructured: u, source: src}
		wrong = append(wrong, o.Problem("items", err.Error(), ""))
	}
	return objects, wrong
}
