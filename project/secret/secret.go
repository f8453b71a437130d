// Package secret feeds Kubernetes Secrets from files of variables (.env) and from
// what a person types. Values are never shown: not in errors, not in plans.
package secret

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/joho/godotenv"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/mlstudio/studio/project/problem"
)

// FieldManager owns what is fed from a project's files.
const FieldManager = "studio-secrets"

// Label marks the Secrets that Studio made, so that only those are listed and removed.
const Label = "studio.mlstudio.dev/secret"

// keyForm is what can be the name of an environment variable and the key of a Secret.
var keyForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ReadFile reads a file of variables in the form that shells and dotenv share.
func ReadFile(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading variables: %w", err)
	}
	defer f.Close()
	values, err := godotenv.Parse(f)
	if err != nil {
		// The library's own words quote the line, and with it the value.
		return nil, problem.List{{File: file, Message: "this is no file of variables", Cure: "write each line as NAME=value; quote values that hold spaces or #"}}
	}
	for key := range values {
		if !keyForm.MatchString(key) {
			return nil, problem.List{{File: file, Field: key, Message: "this is no name of a variable", Cure: "use letters, digits and underscores"}}
		}
	}
	return values, nil
}

// ParsePair reads KEY=value.
func ParsePair(text string) (key, value string, err error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || !keyForm.MatchString(key) {
		return "", "", fmt.Errorf("want KEY=value, KEY of letters, digits and underscores") // never the text: it may be a value
	}
	return key, value, nil
}

// Feed makes a Secret hold exactly these values, and tells whether that changed it.
func Feed(ctx context.Context, secrets typedcorev1.SecretInterface, name string, values map[string]string) (changed bool, err error) {
	before, err := secrets.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		before = nil
	case err != nil:
		return false, fmt.Errorf("reading the Secret %s: %w", name, err)
	case before.Labels[Label] == "":
		return false, fmt.Errorf("the Secret %s was not made by Studio and is left alone; choose another name", name)
	}
	data := map[string][]byte{}
	for key, value := range values {
		data[key] = []byte(value)
	}
	if before != nil && maps.EqualFunc(before.Data, data, slices.Equal) {
		return false, nil
	}
	object := applycorev1.Secret(name, "").WithLabels(map[string]string{Label: "true"}).WithType(corev1.SecretTypeOpaque).WithData(data)
	object.Namespace = nil // the client's own
	if _, err := secrets.Apply(ctx, object, metav1.ApplyOptions{FieldManager: FieldManager, Force: true}); err != nil {
		return false, fmt.Errorf("writing the Secret %s: %w", name, err)
	}
	return true, nil
}

// Set adds or changes some keys of a Secret and leaves the others.
func Set(ctx context.Context, secrets typedcorev1.SecretInterface, name string, values map[string]string) (changed bool, err error) {
	all := map[string]string{}
	before, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("reading the Secret %s: %w", name, err)
	}
	if err == nil {
		for key, value := range before.Data {
			all[key] = string(value)
		}
	}
	maps.Copy(all, values)
	return Feed(ctx, secrets, name, all)
}

// Info is what may be shown of a Secret.
type Info struct {
	Name string   `json:"name"`
	Keys []string `json:"keys"`
}

// List names the Secrets that Studio made and their keys.
func List(ctx context.Context, secrets typedcorev1.SecretInterface) ([]Info, error) {
	list, err := secrets.List(ctx, metav1.ListOptions{LabelSelector: Label})
	if err != nil {
		return nil, fmt.Errorf("listing the Secrets: %w", err)
	}
	all := []Info{}
	for _, s := range list.Items {
		all = append(all, Info{Name: s.Name, Keys: slices.Sorted(maps.Keys(s.Data))})
	}
	return all, nil
}

// Remove deletes a Secret that Studio made.
func Remove(ctx context.Context, secrets typedcorev1.SecretInterface, name string) error {
	s, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the Secret %s: %w", name, err)
	}
	if s.Labels[Label] == "" {
		return fmt.Errorf("the Secret %s was not made by Studio and is left alone", name)
	}
	if err := secrets.Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(s.UID))}); err != nil {
		return fmt.Errorf("removing the Secret %s: %w", name, err)
	}
	return nil
}
