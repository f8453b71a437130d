package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/images/layer"
)

// Annotations of the index's descriptors.
const (
	nameAnnotation   = "io.containerd.image.name"
	tagAnnotation    = "org.opencontainers.image.ref.name"
	pinnedAnnotation = "dev.mlstudio.studio.pinned"
	addedAnnotation  = "dev.mlstudio.studio.added"
)

// Image is one image of the store.
type Image struct {
	// ID is the digest of the image's configuration, as sha256:...
	ID string
	// Digest is that of its manifest.
	Digest string
	// Names it has, normalized; an image without one is found by its ID.
	Names []string
	// Size of its blobs in bytes.
	Size int64
	// Pinned: it was imported or built here and is never removed for space.
	Pinned bool
	// Added to this store; Created by whoever built it.
	Added, Created time.Time
	// Config says what its containers run.
	Config v1.Config
	// Chain names its layers, the lowest first.
	Chain []string

	layers []v1.Descriptor
	diffs  []string
}

// Digests are the image's names with its digest in place of a tag.
func (i *Image) Digests() []string {
	var all []string
	for _, n := range i.Names {
		if d := Repository(n) + "@" + i.Digest; !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// Tags are the image's names that carry a tag.
func (i *Image) Tags() []string {
	return slices.DeleteFunc(slices.Clone(i.Names), func(n string) bool { return strings.Contains(n, "@") })
}

// indexed is the index and the images it names, by ID in the order of the index.
type indexed struct {
	manifest v1.IndexManifest
	images   []*Image
}

func (s *Store) load() (indexed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.index.get(s.indexFile(), s.parseIndex)
	if err != nil {
		return x, fmt.Errorf("reading the image store: %w", err)
	}
	return x, nil
}

func (s *Store) parseIndex(raw []byte) (indexed, error) {
	var x indexed
	if err := json.Unmarshal(raw, &x.manifest); err != nil {
		return x, err
	}
	known := map[string]*Image{}
	for _, d := range x.manifest.Manifests {
		img := known[d.Digest.String()]
		if img == nil {
			var err error
			img, err = s.readImage(d.Digest)
			if errors.Is(err, os.ErrNotExist) {
				continue // somebody removed its files: it is not there, and can be added again
			}
			if err != nil {
				return x, err
			}
			known[d.Digest.String()] = img
			x.images = append(x.images, img)
		}
		if name := d.Annotations[nameAnnotation]; name != "" {
			img.Names = append(img.Names, name)
		}
		img.Pinned = img.Pinned || d.Annotations[pinnedAnnotation] == "true"
		if t, err := time.Parse(time.RFC3339, d.Annotations[addedAnnotation]); err == nil && t.After(img.Added) {
			img.Added = t
		}
	}
	return x, nil
}

// readImage reads what an image is out of its manifest and configuration.
func (s *Store) readImage(digest v1.Hash) (*Image, error) {
	raw, err := os.ReadFile(s.blob(digest))
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", digest, err)
	}
	config, err := os.ReadFile(s.blob(m.Config.Digest))
	if err != nil {
		return nil, err
	}
	return newImage(digest, int64(len(raw)), m, config)
}

func newImage(digest v1.Hash, size int64, m *v1.Manifest, config []byte) (*Image, error) {
	c, err := v1.ParseConfigFile(bytes.NewReader(config))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	img := &Image{
		ID: m.Config.Digest.String(), Digest: digest.String(), Size: size + m.Config.Size,
		Created: c.Created.Time, Config: c.Config, layers: m.Layers,
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("image %s has %d layers and digests of %d: it is damaged", digest, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	for i, d := range c.RootFS.DiffIDs {
		img.Size += m.Layers[i].Size
		img.diffs = append(img.diffs, d.String())
	}
	img.Chain = layer.ChainIDs(img.diffs)
	return img, nil
}

func (s *Store) blob(h v1.Hash) string { return filepath.Join(s.blobs(), h.Hex) }

// List returns all images, the newest first.
func (s *Store) List() ([]*Image, error) {
	x, err := s.load()
	if err != nil {
		return nil, err
	}
	all := slices.Clone(x.images)
	slices.SortStableFunc(all, func(a, b *Image) int { return b.Added.Compare(a.Added) })
	return all, nil
}

// Count is how many images a store has, 0 where there is none or it can not be read.
func Count(dir string) int {
	x, err := (&Store{dir: dir}).load()
	if err != nil {
		return 0
	}
	return len(x.images)
}

// Get finds an image by a name with tag or digest, which need not be
// normalized, or by its ID or the beginning of one. An unknown one is ErrUnknown.
func (s *Store) Get(name string) (*Image, error) {
	x, err := s.load()
	if err != nil {
		return nil, err
	}
	return x.get(name)
}

func (x indexed) get(name string) (*Image, error) {
	full, err := Normalize(name)
	if err == nil {
		for _, img := range x.images {
			if slices.Contains(img.Names, full) || strings.Contains(full, "@") && slices.Contains(img.Digests(), full) {
				return img, nil
			}
		}
	}
	hex, ok := isID(name)
	if !ok {
		if err == nil {
			err = fmt.Errorf("%s: %w", full, ErrUnknown)
		}
		return nil, err
	}
	var found *Image
	for _, img := range x.images {
		if !strings.HasPrefix(img.ID, "sha256:"+hex) {
			continue
		}
		if found != nil && found.ID != img.ID {
			return nil, fmt.Errorf("more than one image's ID begins with %s: give more digits", name)
		}
		found = img
	}
	if found == nil {
		return nil, fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	return found, nil
}

// change rewrites the index. The caller holds the lock that is shared with
// other writers of content.
func (s *Store) change(f func(*v1.IndexManifest) error) error {
	release, err := s.lock(indexLock, exclusive)
	if err != nil {
		return err
	}
	defer release()
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	raw, err := os.ReadFile(s.indexFile())
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", s.indexFile(), err)
	}
	if err := f(&index); err != nil {
		return err
	}
	if raw, err = json.MarshalIndent(index, "", " "); err != nil {
		return err
	}
	return datadir.WriteFile(s.indexFile(), append(raw, '\n'), 0o600)
}

// name lets names lead to an image, and to no other. Without a name the image
// stays reachable by its ID.
func name(index *v1.IndexManifest, d v1.Descriptor, names []string, pinned bool) {
	now := time.Now().UTC().Format(time.RFC3339)
	index.Manifests = slices.DeleteFunc(index.Manifests, func(old v1.Descriptor) bool {
		n := old.Annotations[nameAnnotation]
		return slices.Contains(names, n) || n == "" && old.Digest == d.Digest
	})
	add := func(name string) {
		entry := d
		entry.Annotations = map[string]string{addedAnnotation: now}
		if pinned {
			entry.Annotations[pinnedAnnotation] = "true"
		}
		if name != "" {
			entry.Annotations[nameAnnotation] = name
			if _, tag, ok := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":"); ok {
				entry.Annotations[tagAnnotation] = tag
			}
		}
		index.Manifests = append(index.Manifests, entry)
	}
	for _, n := range names {
		add(n)
	}
	if len(names) == 0 && !slices.ContainsFunc(index.Manifests, func(old v1.Descriptor) bool { return old.Digest == d.Digest }) {
		add("")
	}
}
