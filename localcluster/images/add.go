package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"github.com/mlstudio/studio/localcluster/images/layer"
)

// Adding says how an image is added.
type Adding struct {
	// Names it gets, normalized.
	Names []string
	// Pinned keeps it from being removed for space.
	Pinned bool
	// Progress hears how many bytes of blobs were stored, and of layers unpacked.
	Progress func(Step)
}

// Step is a step of progress of one image.
type Step struct {
	// Layer counts from 1, Layers is how many there are.
	Layer, Layers int
	// Bytes of the layer's blob that were taken, of Size.
	Bytes, Size int64
}

// Add stores an image and unpacks its layers. What is there already is not
// taken again. When it returns, all is on disk.
func (s *Store) Add(ctx context.Context, img v1.Image, a Adding) (*Image, error) {
	release, err := s.lock(contentLock, shared)
	if err != nil {
		return nil, err
	}
	defer release()
	d, err := partial.Descriptor(img)
	if err != nil {
		return nil, fmt.Errorf("reading the image: %w", err)
	}
	b := s.newBatch()
	defer b.drop()
	added, err := b.take(ctx, img, d, a.Progress)
	if err != nil {
		return nil, err
	}
	if err := b.commit(); err != nil {
		return nil, err
	}
	entry := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform}
	err = s.change(func(index *v1.IndexManifest) error {
		name(index, entry, a.Names, a.Pinned)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.Get(added.ID)
}

// Prepare unpacks what is missing of an image: its layers were unpacked under
// another mapping of ids.
func (s *Store) Prepare(ctx context.Context, img *Image) error {
	missing := func(c string) bool { return !s.unpacked(c) }
	if !slices.ContainsFunc(img.Chain, missing) {
		return nil
	}
	release, err := s.lock(contentLock, shared)
	if err != nil {
		return err
	}
	defer release()
	b := s.newBatch()
	defer b.drop()
	for i := range img.Chain {
		if err := b.unpack(ctx, img, i); err != nil {
			return fmt.Errorf("unpacking layer %d of %d of image %s: %w", i+1, len(img.Chain), img.ID, err)
		}
	}
	return b.commit()
}

// Losses adds up what the image's unpacked layers lack.
func (s *Store) Losses(img *Image) (layer.Result, error) {
	var all layer.Result
	for _, c := range img.Chain {
		r, err := s.losses(c)
		if err != nil {
			return all, err
		}
		all.Bytes, all.Files, all.Owners, all.Devices = all.Bytes+r.Bytes, all.Files+r.Files, all.Owners+r.Owners, all.Devices+r.Devices
	}
	return all, nil
}

// losses reads what is noted of one layer; one that is not unpacked lacks nothing.
func (s *Store) losses(chainID string) (r layer.Result, err error) {
	raw, err := os.ReadFile(filepath.Join(s.layerDir(chainID), metaFile))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, fmt.Errorf("reading what is known of layer %s: %w", chainID, err)
	}
	return r, nil
}

// Usage adds up what all unpacked layers and blobs take.
func (s *Store) Usage() (layer.Result, error) {
	var all layer.Result
	list, err := s.List()
	if err != nil {
		return all, err
	}
	seen := map[string]bool{}
	for _, img := range list {
		for i, l := range img.layers {
			if id := l.Digest.String(); !seen[id] {
				seen[id] = true
				all.Bytes += l.Size
				all.Files++
			}
			if c := img.Chain[i]; !seen["chain "+c] {
				seen["chain "+c] = true
				r, err := s.losses(c)
				if err != nil {
					return all, err
				}
				all.Bytes, all.Files = all.Bytes+r.Bytes, all.Files+r.Files
			}
		}
	}
	return all, nil
}
