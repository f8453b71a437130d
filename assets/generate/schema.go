package main

import (
	"fmt"
	"slices"
	"strings"
)

// Below these fields lie types of Kubernetes, which kubectl explains elsewhere:
// their descriptions would make up nine tenths of a CRD.
var foreign = map[string]bool{
	".spec.initializer.dataset.env": true, ".spec.initializer.model.env": true,
	".spec.initializer.dataset.secretRef": true, ".spec.initializer.model.secretRef": true,
	".spec.trainer.env": true, ".spec.trainer.resourcesPerNode": true,
	".spec.runtimePatches.trainingRuntimeSpec.template.spec.replicatedJobs.template": true,
	".spec.runtimePatches.trainingRuntimeSpec.template.metadata":                     true,
	".spec.template.spec":                 true,
	".spec.template.metadata":             true,
	".spec.replicatedJobs.template":       true,
	".spec.volumeClaimPolicies.templates": true,
	".status.conditions":                  true,
	".apiVersion":                         true,
	".kind":                               true,
}

// shorten cuts descriptions to their first paragraph and drops those of foreign
// types, whose own field keeps its description.
func shorten(node map[string]any, path string, below bool) {
	if d, ok := node["description"].(string); ok {
		first, _, _ := strings.Cut(d, "\n\n")
		node["description"] = strings.ReplaceAll(first, "\n", " ")
		if below {
			delete(node, "description")
		}
	}
	below = below || foreign[path]
	if props, ok := node["properties"].(map[string]any); ok {
		for name, p := range props {
			shorten(p.(map[string]any), path+"."+name, below)
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if sub, ok := node[key].(map[string]any); ok {
			shorten(sub, path, below)
		}
	}
}

func addDefaults(root map[string]any, ds []defaulted) error {
	for _, d := range ds {
		node, err := at(root, d.path)
		if err != nil {
			return err
		}
		node["default"] = d.value
	}
	return nil
}

func makeOptional(root map[string]any, fields [][2]string) error {
	for _, f := range fields {
		node, err := at(root, f[0])
		if err != nil {
			return err
		}
		required, _ := node["required"].([]any)
		at := slices.Index(required, any(f[1]))
		if at < 0 {
			return fmt.Errorf("field %s of %s is not required", f[1], f[0])
		}
		node["required"] = slices.Delete(required, at, at+1)
	}
	return nil
}

// at finds the node of a path such as spec.jobs[].name.
func at(node map[string]any, path string) (map[string]any, error) {
	for name := range strings.SplitSeq(path, ".") {
		name, list := strings.CutSuffix(name, "[]")
		props, _ := node["properties"].(map[string]any)
		next, ok := props[name].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("no field %q on the way to %s", name, path)
		}
		if list {
			next = next["items"].(map[string]any)
		}
		node = next
	}
	return node, nil
}

func versions(crd map[string]any) []map[string]any {
	var vs []map[string]any
	for _, v := range crd["spec"].(map[string]any)["versions"].([]any) {
		vs = append(vs, v.(map[string]any))
	}
	return vs
}

func schema(version map[string]any) map[string]any {
	return version["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
}
