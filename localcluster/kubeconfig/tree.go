package kubeconfig

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/mlstudio/studio/project/problem"
)

// parse returns the mapping of a kubeconfig; an empty one for no text.
func parse(raw []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		line, message := problem.SyntaxLine(err)
		return nil, fmt.Errorf("line %d is not valid YAML: %s; nothing was changed", line, message)
	}
	if doc.Kind == 0 {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: this is not a kubeconfig; nothing was changed", root.Line)
	}
	// Comments at the ends of the file hang on the document.
	if root.HeadComment == "" {
		root.HeadComment = doc.HeadComment
	}
	if root.FootComment == "" {
		root.FootComment = doc.FootComment
	}
	root.Style = 0 // a file in JSON form becomes YAML, which holds both
	return root, nil
}

func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

func value(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func set(m *yaml.Node, key string, v *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = v
			return
		}
	}
	m.Content = append(m.Content, text(key), v)
}

func items(m *yaml.Node, list string) []*yaml.Node {
	if l := value(m, list); l != nil && l.Kind == yaml.SequenceNode {
		return l.Content
	}
	return nil
}

func first(m *yaml.Node, list string) *yaml.Node {
	if all := items(m, list); len(all) > 0 {
		return all[0]
	}
	return nil
}

func find(m *yaml.Node, list, name string) *yaml.Node {
	for _, item := range items(m, list) {
		if n := value(item, "name"); n != nil && n.Value == name {
			return item
		}
	}
	return nil
}

// put sets an entry of a list by its name, at its old place if it has one.
func put(m *yaml.Node, list, name, field string, v *yaml.Node) {
	if item := find(m, list, name); item != nil {
		set(item, field, v)
		return
	}
	l := value(m, list)
	if l == nil || l.Kind != yaml.SequenceNode {
		l = &yaml.Node{Kind: yaml.SequenceNode}
		set(m, list, l)
	}
	l.Style = 0 // `clusters: []` grows into a block
	item := &yaml.Node{Kind: yaml.MappingNode}
	set(item, "name", text(name))
	set(item, field, v)
	l.Content = append(l.Content, item)
}

// mark notes in an entry whose it is, in the place that kubeconfigs have for it.
func mark(v *yaml.Node, dataDir string) *yaml.Node {
	body := &yaml.Node{Kind: yaml.MappingNode}
	set(body, "dataDir", text(dataDir))
	ext := &yaml.Node{Kind: yaml.MappingNode}
	set(ext, "name", text(extension))
	set(ext, "extension", body)
	set(v, "extensions", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{ext}})
	return v
}

// owner is the data directory that an entry was written for; "" if not by Studio.
func owner(item *yaml.Node) string {
	for _, field := range []string{"cluster", "user", "context"} {
		ext := find(value(item, field), "extensions", extension)
		if dir := value(value(ext, "extension"), "dataDir"); dir != nil {
			return dir.Value
		}
	}
	return ""
}
