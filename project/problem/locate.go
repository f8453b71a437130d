package problem

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Locate finds the place of a field in a YAML document: the key's line and
// column. A field that the document does not have gives the nearest parent that
// it has. Lines are those of the node, so count from the start of what was parsed.
//
// The path takes all forms that the API server writes: spec.a[0].b, a leading
// dot, a[name="x"].b and a[some.key/x].
func Locate(doc *yaml.Node, path string) (line, column int) {
	at := content(doc)
	if at == nil {
		return 0, 0
	}
	line, column = at.Line, at.Column
	for _, step := range steps(path) {
		key, value := descend(at, step)
		if value == nil {
			return line, column
		}
		line, column = key.Line, key.Column
		at = value
	}
	return line, column
}

// SyntaxLine splits the line number off a YAML parser's error.
func SyntaxLine(err error) (line int, message string) {
	var types *yaml.TypeError
	message = err.Error()
	if errors.As(err, &types) && len(types.Errors) > 0 {
		message = types.Errors[0]
	}
	message = strings.TrimPrefix(message, "yaml: ")
	if m := lineForm.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = m[2]
	}
	// The library counts from 0 in the parser's errors, from 1 in the scanner's.
	for _, parser := range []string{"did not find expected", "found duplicate %", "found undefined tag", "found incompatible"} {
		if strings.HasPrefix(message, parser) {
			line++
		}
	}
	// A mistake on the first line comes without its number.
	return max(1, line), message
}

var lineForm = regexp.MustCompile(`(?s)^line (\d+): (.*)$`)

// content unwraps the document node and aliases.
func content(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			n = n.Content[0]
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		default:
			return n
		}
	}
	return nil
}

// step is one part of a path: a key, an index, or a list item chosen by a field.
type step struct {
	key        string
	index      int
	isIndex    bool
	match, val string
}

var matchForm = regexp.MustCompile(`^(\w+)="(.*)"$`)

func steps(path string) []step {
	var out []step
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return out
			}
			inner := path[1:end]
			path = path[end+1:]
			if i, err := strconv.Atoi(inner); err == nil {
				out = append(out, step{index: i, isIndex: true})
			} else if m := matchForm.FindStringSubmatch(inner); m != nil {
				out = append(out, step{match: m[1], val: m[2]})
			} else {
				out = append(out, step{key: strings.Trim(inner, `"`)})
			}
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out = append(out, step{key: path[:end]})
			path = path[end:]
		}
	}
	return out
}

func descend(n *yaml.Node, s step) (key, value *yaml.Node) {
	n = content(n)
	switch {
	case n == nil:
	case s.isIndex && n.Kind == yaml.SequenceNode && s.index >= 0 && s.index < len(n.Content):
		return n.Content[s.index], n.Content[s.index]
	case s.match != "" && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			if _, v := descend(item, step{key: s.match}); v != nil && v.Value == s.val {
				return item, item
			}
		}
	case s.key != "" && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == s.key {
				return n.Content[i], n.Content[i+1]
			}
		}
	}
	return nil, nil
}
