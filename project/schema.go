package project

import (
	"encoding/json"
	"maps"
	"slices"
)

// JSONSchema describes studio.yaml for editors that complete and check YAML. It is
// made from the same description that the file is read by.
func JSONSchema() ([]byte, error) {
	top := schema.schema()
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = FileName
	top["required"] = []string{"apiVersion", "kind"}
	fields := top["properties"].(map[string]any)
	fields["apiVersion"].(map[string]any)["const"] = APIVersion
	fields["kind"].(map[string]any)["const"] = Kind
	raw, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(raw, '\n'), nil
}

func (s shape) schema() map[string]any {
	switch {
	case s.fields != nil:
		properties := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(s.fields)) {
			properties[name] = s.fields[name].schema()
		}
		return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	case s.each != nil:
		return map[string]any{"type": "object", "additionalProperties": s.each.schema(), "description": s.want}
	case s.truth:
		return map[string]any{"type": "boolean", "description": s.want}
	case s.list:
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "description": s.want}
	}
	return map[string]any{"type": "string", "description": s.want}
}
