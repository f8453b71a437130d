package install

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// CRDs installs the named files of the tree, one CRD each, and waits until the
// API server has accepted those that it had to change.
func (i *Installer) CRDs(ctx context.Context, tree fs.FS, files []string) error {
	var mu sync.Mutex
	changed := map[string]bool{}
	g, gctx := errgroup.WithContext(ctx)
	for _, f := range files {
		raw, err := fs.ReadFile(tree, f)
		if err != nil {
			return err
		}
		g.Go(func() error {
			it := item{raw: raw, hash: hash(raw)}
			it.meta.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
			if it.meta.Name, err = crdName(f); err != nil {
				return err
			}
			did, err := i.ensure(gctx, it)
			if did {
				mu.Lock()
				defer mu.Unlock()
				changed[it.meta.Name] = true
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(changed) == 0 {
		return nil
	}
	return i.established(ctx, changed)
}

// crdName turns a file's name, crds/GROUP_PLURAL.yaml, into the CRD's, PLURAL.GROUP:
// a warm start must not parse megabytes of schema to learn a name.
func crdName(file string) (string, error) {
	base, ok := strings.CutSuffix(path.Base(file), ".yaml")
	group, plural, both := strings.Cut(base, "_")
	if !ok || !both {
		return "", fmt.Errorf("CRD file %s: want a name of the form GROUP_PLURAL.yaml", file)
	}
	return plural + "." + group, nil
}

// established waits by watch until each named CRD is served or refused.
func (i *Installer) established(ctx context.Context, names map[string]bool) error {
	w, err := i.Client.Watch(ctx, &apiextensionsv1.CustomResourceDefinitionList{})
	if err != nil {
		return fmt.Errorf("watching CRDs: %w", err)
	}
	defer w.Stop()
	for len(names) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for CRDs to be served: %w", ctx.Err())
		case e, ok := <-w.ResultChan():
			if !ok || e.Type == watch.Error {
				return i.established(ctx, names)
			}
			crd, ok := e.Object.(*apiextensionsv1.CustomResourceDefinition)
			if !ok || !names[crd.Name] {
				continue
			}
			for _, c := range crd.Status.Conditions {
				switch {
				case c.Type == apiextensionsv1.NamesAccepted && c.Status == apiextensionsv1.ConditionFalse:
					return fmt.Errorf("CRD %s is not accepted: %s", crd.Name, c.Message)
				case c.Type == apiextensionsv1.NonStructuralSchema && c.Status == apiextensionsv1.ConditionTrue:
					return fmt.Errorf("CRD %s has no structural schema: %s", crd.Name, c.Message)
				case c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue:
					delete(names, crd.Name)
				}
			}
		}
	}
	return nil
}

func bufferedReader(raw []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(raw)) }
