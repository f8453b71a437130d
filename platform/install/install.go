// Package install puts CRDs and default objects into a cluster by server-side
// apply, all at once, and touches nothing that is already as it should be: each
// installed object carries the hash of what it was made from, so a warm start
// costs one small read an object.
package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Annotation holds the hash of what an object was made from; it also marks an
// object as installed by the platform.
const Annotation = "studio.mlstudio.dev/installed"

// owner of the applied fields.
const owner = client.FieldOwner("studio-platform")

// Installer puts objects into one cluster.
type Installer struct {
	Client client.WithWatch
	Log    *slog.Logger
}

// item is one object to install. Only its identity is decoded until it must be sent.
type item struct {
	meta metav1.PartialObjectMetadata
	raw  []byte
	hash string
}

// Objects applies the objects of all YAML files of the given trees: Namespaces
// first, the rest at once.
func (i *Installer) Objects(ctx context.Context, trees ...fs.FS) error {
	var namespaces, rest []item
	for _, tree := range trees {
		items, err := load(tree)
		if err != nil {
			return err
		}
		for _, it := range items {
			if it.meta.Kind == "Namespace" {
				namespaces = append(namespaces, it)
			} else {
				rest = append(rest, it)
			}
		}
	}
	if err := i.each(ctx, namespaces); err != nil {
		return err
	}
	return i.each(ctx, rest)
}

func (i *Installer) each(ctx context.Context, items []item) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, it := range items {
		g.Go(func() error {
			_, err := i.ensure(ctx, it)
			return err
		})
	}
	return g.Wait()
}

// ensure makes the object what it should be and tells whether it had to change it.
func (i *Installer) ensure(ctx context.Context, it item) (changed bool, err error) {
	name := it.meta.Kind + " " + it.meta.Name
	there := it.meta
	err = i.Client.Get(ctx, client.ObjectKeyFromObject(&it.meta), &there)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return false, fmt.Errorf("looking for %s: %w", name, err)
	case there.Annotations[Annotation] == it.hash:
		return false, nil
	case there.Annotations[Annotation] == "" && yields(it.meta.Kind):
		i.Log.Info("keeping what a user made under the name of a shipped object", "object", name)
		return false, nil
	}
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(it.raw, &obj.Object); err != nil {
		return false, fmt.Errorf("reading %s: %w", name, err)
	}
	annotations := obj.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[Annotation] = it.hash
	obj.SetAnnotations(annotations)
	if there.UID == "" && it.meta.Kind == "CustomResourceDefinition" {
		// Creating a CRD costs the API server half of what applying one does.
		err = i.Client.Create(ctx, obj, owner)
	} else {
		err = i.apply(ctx, obj)
	}
	if apierrors.IsInvalid(err) && there.UID != "" && yields(it.meta.Kind) {
		// Fields that may not change: an object of the platform is made anew.
		if err := i.Client.Delete(ctx, &there, client.Preconditions{UID: &there.UID}); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("replacing %s: %w", name, err)
		}
		err = i.apply(ctx, obj)
	}
	if err != nil {
		return false, fmt.Errorf("installing %s: %w", name, err)
	}
	i.Log.Debug("installed", "object", name)
	return true, nil
}

func (i *Installer) apply(ctx context.Context, obj *unstructured.Unstructured) error {
	return i.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj.DeepCopy()), owner, client.ForceOwnership)
}

// yields tells whether users make objects of this kind: theirs go before ours.
func yields(kind string) bool {
	switch kind {
	case "CustomResourceDefinition", "Namespace", "ConfigMap", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding":
		return false
	}
	return true
}

// load splits the YAML files of a tree into objects.
func load(tree fs.FS) ([]item, error) {
	var items []item
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		docs := yaml.NewYAMLReader(bufferedReader(raw))
		for {
			doc, err := docs.Read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("reading %s: %w", path, err)
			}
			it := item{raw: doc, hash: hash(doc)}
			if err := yaml.Unmarshal(doc, &it.meta); err != nil {
				return fmt.Errorf("reading %s: %w", path, err)
			}
			if it.meta.Kind == "" || it.meta.Name == "" {
				return fmt.Errorf("reading %s: an object without kind or name", path)
			}
			items = append(items, item{meta: identity(it.meta), raw: doc, hash: it.hash})
		}
	})
	return items, err
}

// identity keeps what names the object.
func identity(m metav1.PartialObjectMetadata) metav1.PartialObjectMetadata {
	return metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace}}
}

func hash(raw []byte) string {
	sum := sha256.Sum256(bytes.TrimSpace(raw))
	return hex.EncodeToString(sum[:8])
}
