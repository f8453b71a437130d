package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/mlstudio/studio/localcluster/images/layer"
)

// Use notes that a container stands on images' layers, which then stay until
// Release, and returns their folders, an image after the other. Missing ones are
// an error.
func (s *Store) Use(container string, all ...*Image) ([]layer.Stack, error) {
	release, err := s.lock(contentLock, shared)
	if err != nil {
		return nil, err
	}
	defer release()
	var chains []string
	var stacks []layer.Stack
	for _, img := range all {
		for _, c := range img.Chain {
			if !s.unpacked(c) {
				return nil, fmt.Errorf("layer %s of image %s is not unpacked", c, img.ID)
			}
		}
		chains = append(chains, img.Chain...)
		stacks = append(stacks, s.stack(img.Chain))
	}
	path := filepath.Join(s.uses(), container)
	if err := os.WriteFile(path, []byte(strings.Join(chains, "\n")), 0o600); err != nil {
		return nil, fmt.Errorf("noting that an image is in use: %w", err)
	}
	return stacks, nil
}

// Release ends a Use, and removes layers that only this one kept. Without a Use
// it does nothing.
func (s *Store) Release(container string) error {
	path := filepath.Join(s.uses(), container)
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	x, err := s.load()
	if err != nil {
		return err
	}
	for c := range strings.SplitSeq(string(raw), "\n") {
		if !slices.ContainsFunc(x.images, func(img *Image) bool { return slices.Contains(img.Chain, c) }) {
			return s.Collect()
		}
	}
	return nil
}

// Forget ends the uses of all containers that are not alive.
func (s *Store) Forget(alive func(container string) bool) error {
	entries, err := os.ReadDir(s.uses())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !alive(e.Name()) {
			if err := s.Release(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove takes a name from the image that has it, or removes the image of an
// ID with all its names, and says which names went. An image without a name
// left is gone, but for the layers that containers use.
func (s *Store) Remove(nameOrID string) (names []string, err error) {
	img, err := s.Get(nameOrID)
	if err != nil {
		return nil, err
	}
	full, err := Normalize(nameOrID)
	one := err == nil && slices.Contains(img.Names, full)
	err = s.change(func(index *v1.IndexManifest) error {
		index.Manifests = slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool {
			n := d.Annotations[nameAnnotation]
			gone := d.Digest.String() == img.Digest && (!one || n == full)
			if gone && n != "" {
				names = append(names, n)
			}
			return gone
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return names, s.Collect()
}

// Collect removes what no image and no container needs. While somebody adds an
// image it does nothing: whoever removes or adds next makes up for it.
func (s *Store) Collect() error {
	release, err := s.lock(contentLock, only)
	if errors.Is(err, errBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	blobs, chains, err := s.needed()
	if err != nil {
		return err
	}
	var errs []error
	errs = append(errs, s.sweep(s.tmp(), func(string) bool { return false }))
	errs = append(errs, s.sweep(s.blobs(), func(name string) bool { return blobs[name] }))
	owners, err := os.ReadDir(filepath.Join(s.dir, "layers"))
	errs = append(errs, err)
	for _, o := range owners {
		errs = append(errs, s.sweep(filepath.Join(s.dir, "layers", o.Name()), func(name string) bool { return chains[name] }))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clearing the image store: %w", err)
	}
	return nil
}

// needed lists the digits of the blobs and chain IDs that are referred to.
func (s *Store) needed() (blobs, chains map[string]bool, err error) {
	x, err := s.load()
	if err != nil {
		return nil, nil, err
	}
	blobs, chains = map[string]bool{}, map[string]bool{}
	digits := func(id string) string { return id[strings.LastIndex(id, ":")+1:] }
	for _, img := range x.images {
		blobs[digits(img.Digest)], blobs[digits(img.ID)] = true, true
		for _, l := range img.layers {
			blobs[l.Digest.Hex] = true
		}
		for _, c := range img.Chain {
			chains[digits(c)] = true
		}
	}
	uses, err := os.ReadDir(s.uses())
	if err != nil {
		return nil, nil, err
	}
	for _, u := range uses {
		raw, err := os.ReadFile(filepath.Join(s.uses(), u.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // released meanwhile
		}
		if err != nil {
			return nil, nil, err
		}
		for c := range strings.SplitSeq(string(raw), "\n") {
			chains[digits(c)] = true
		}
	}
	return blobs, chains, nil
}

// sweep removes the entries of a folder that are not wanted.
func (s *Store) sweep(dir string, wanted func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if wanted(e.Name()) {
			continue
		}
		from, trash := filepath.Join(dir, e.Name()), filepath.Join(s.tmp(), "gone-"+e.Name())
		// What is cut short here must not look whole.
		if dir != s.tmp() {
			if err := os.Rename(from, trash); err != nil {
				errs = append(errs, err)
				continue
			}
			from = trash
		}
		errs = append(errs, os.RemoveAll(from))
	}
	return errors.Join(errs...)
}
