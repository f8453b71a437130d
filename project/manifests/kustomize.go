package manifests

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/mlstudio/studio/project/problem"
)

func isKustomization(dir string) bool {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// build runs kustomize. Its output has no lines of its own: an object is placed
// where a file of the folder has one of its kind and name, if any does.
func build(dir string) (r read) {
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		r.wrong = problem.List{{File: dir, Message: "kustomize: " + strings.TrimSpace(err.Error())}}
		return r
	}
	known := index(dir)
	for _, res := range result.Resources() {
		content, err := res.Map()
		if err != nil {
			r.wrong = append(r.wrong, problem.Problem{File: dir, Message: err.Error()})
			continue
		}
		u := &unstructured.Unstructured{Object: content}
		found, bad := expand(u, known.of(u, dir))
		r.objects, r.wrong = append(r.objects, found...), append(r.wrong, bad...)
	}
	return r
}

// places are the documents of a folder by kind and name.
type places map[string]map[string]source

// of finds the document that an object was made from. Kustomize may have put a
// prefix or suffix to its name; the longest name in it is taken then.
func (p places) of(u *unstructured.Unstructured, dir string) source {
	best, at := "", source{file: dir}
	for name, src := range p[u.GetKind()] {
		if strings.Contains(u.GetName(), name) && len(name) > len(best) {
			best, at = name, src
		}
	}
	return at
}

func index(dir string) places {
	known := places{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || (filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".yml") {
			return nil // what can not be read gives no place, no more
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for _, doc := range split(raw) {
			var node yaml.Node
			var head struct {
				Kind     string `yaml:"kind"`
				Metadata struct {
					Name string `yaml:"name"`
				} `yaml:"metadata"`
			}
			if yaml.Unmarshal(doc.text, &node) == nil && node.Decode(&head) == nil && head.Kind != "" {
				if known[head.Kind] == nil {
					known[head.Kind] = map[string]source{}
				}
				known[head.Kind][head.Metadata.Name] = source{file: path, offset: doc.offset, node: &node}
			}
		}
		return nil
	})
	return known
}
