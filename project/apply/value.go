package apply

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// part is one step of a field path: .key, [0] or [name="x"].
var part = regexp.MustCompile(`\.?([^.\[\]]+)|\[(\d+)\]|\[(\w+)="([^"]*)"\]`)

// value is what an object has at a field path; nil where it has nothing.
func value(object map[string]any, path string) any {
	var at any = object
	for _, m := range part.FindAllStringSubmatch(path, -1) {
		switch {
		case m[1] != "":
			fields, ok := at.(map[string]any)
			if !ok {
				return nil
			}
			at = fields[m[1]]
		case m[2] != "":
			list, ok := at.([]any)
			i, err := strconv.Atoi(m[2])
			if !ok || err != nil || i >= len(list) {
				return nil
			}
			at = list[i]
		default:
			at = item(at, m[3], m[4])
		}
	}
	return at
}

// item is the member of a list whose field has the given text.
func item(list any, field, text string) any {
	members, _ := list.([]any)
	for _, m := range members {
		if fields, ok := m.(map[string]any); ok && strings.EqualFold(fmt.Sprint(fields[field]), text) {
			return fields
		}
	}
	return nil
}
