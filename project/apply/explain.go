package apply

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mlstudio/studio/project/manifests"
	"github.com/mlstudio/studio/project/problem"
)

// The forms in which the server names a field that it does not take.
var (
	unknownField = regexp.MustCompile(`(unknown|duplicate) field "([^"]+)"`)
	typedField   = regexp.MustCompile(`(?m)^\s*(\.[^\s:]+(?:"[^"]*"[^\s:]*)*): (.+)$`)
	typedPrefix  = regexp.MustCompile(`failed to create typed patch object \([^)]*\):\s*(?:errors:)?\s*`)
	expected     = regexp.MustCompile(`^expected (\w+)`)
)

// explain turns what the server says of an object into problems of its file. It
// returns nil for errors that are not about the manifest.
func explain(o manifests.Object, err error) problem.List {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return nil
	}
	s := status.Status()
	switch s.Reason {
	case metav1.StatusReasonBadRequest, metav1.StatusReasonInvalid, metav1.StatusReasonForbidden, metav1.StatusReasonConflict,
		metav1.StatusReasonNotFound, metav1.StatusReasonInternalError, metav1.StatusReasonUnknown, metav1.StatusReasonRequestEntityTooLarge:
	default:
		return nil
	}
	if s.Reason == metav1.StatusReasonConflict {
		return conflict(o, s)
	}
	if list := causes(o, s); len(list) > 0 {
		return list
	}
	if list := unknownFields(o, s.Message); len(list) > 0 {
		return list
	}
	if list := typed(o, s.Message); len(list) > 0 {
		return list
	}
	if s.Reason == metav1.StatusReasonInternalError || s.Reason == metav1.StatusReasonUnknown {
		return nil // the server's own trouble
	}
	if s.Reason == metav1.StatusReasonNotFound && s.Details != nil && s.Details.Kind == "namespaces" {
		return problem.List{o.Problem("metadata.namespace", fmt.Sprintf("there is no namespace %s", s.Details.Name), "create it: kubectl create namespace "+s.Details.Name)}
	}
	return problem.List{o.Problem("", s.Message, "")}
}

func causes(o manifests.Object, s metav1.Status) problem.List {
	if s.Details == nil {
		return nil
	}
	var list problem.List
	for _, c := range s.Details.Causes {
		if c.Field != "" {
			list = append(list, o.Problem(strings.TrimPrefix(c.Field, "."), c.Message, ""))
		}
	}
	return list
}

func unknownFields(o manifests.Object, message string) problem.List {
	var list problem.List
	for _, m := range unknownField.FindAllStringSubmatch(message, -1) {
		if m[1] == "duplicate" {
			list = append(list, o.Problem(m[2], "the field is set twice", "keep one of the two"))
			continue
		}
		list = append(list, o.Problem(m[2], fmt.Sprintf("%s has no such field", o.GetKind()), "correct or remove it; `kubectl explain "+explainPath(o, m[2])+"` lists the fields"))
	}
	return list
}

// typed reads what server-side apply says before it decodes the object.
func typed(o manifests.Object, message string) problem.List {
	if !typedPrefix.MatchString(message) {
		return nil
	}
	rest := typedPrefix.ReplaceAllString(message[typedPrefix.FindStringIndex(message)[0]:], "")
	var list problem.List
	for _, m := range typedField.FindAllStringSubmatch(rest, -1) {
		field := strings.TrimPrefix(m[1], ".")
		if strings.Contains(m[2], "field not declared in schema") {
			list = append(list, o.Problem(field, fmt.Sprintf("%s has no such field", o.GetKind()), "correct or remove it; `kubectl explain "+explainPath(o, field)+"` lists the fields"))
			continue
		}
		list = append(list, mistyped(o, field, m[2]))
	}
	return list
}

// wants are the server's words for types in ours.
var wants = map[string]string{"string": "a text", "numeric": "a number", "boolean": "true or false", "map": "a mapping", "list": "a list"}

// mistyped says what a value is and what it should be.
func mistyped(o manifests.Object, field, message string) problem.Problem {
	m := expected.FindStringSubmatch(message)
	if m == nil || wants[m[1]] == "" {
		return o.Problem(field, message, "")
	}
	want, cure := "want "+wants[m[1]], ""
	switch v := value(o.Object, field).(type) {
	case bool:
		want += fmt.Sprintf(", not the truth value %v", v)
		if m[1] == "string" {
			cure = "put it in quotes; YAML takes y, n, yes, no, on and off for truth values"
		}
	case int64, float64:
		want += fmt.Sprintf(", not the number %v", v)
		if m[1] == "string" {
			cure = fmt.Sprintf(`put it in quotes: "%v"`, v)
		}
	case string:
		want += fmt.Sprintf(", not the text %q", v)
	case map[string]any:
		want += ", not a mapping"
	case []any:
		want += ", not a list"
	case nil:
		want += ", not nothing"
	}
	return o.Problem(field, want, cure)
}

// explainPath is what `kubectl explain` takes for the parent of a field.
func explainPath(o manifests.Object, field string) string {
	path := brackets.ReplaceAllString(field, "")
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		path = path[:i]
	} else {
		path = ""
	}
	return strings.TrimSuffix(strings.ToLower(o.GetKind())+"."+path, ".")
}

var brackets = regexp.MustCompile(`\[[^\]]*\]`)

func conflict(o manifests.Object, s metav1.Status) problem.List {
	var list problem.List
	if s.Details != nil {
		for _, c := range s.Details.Causes {
			if c.Type == metav1.CauseTypeFieldManagerConflict {
				list = append(list, o.Problem(strings.TrimPrefix(c.Field, "."), "another program set this field: "+c.Message, "leave the field out, or take it over with --force-conflicts"))
			}
		}
	}
	return list
}
