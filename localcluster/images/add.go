package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

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
	added, err := s.take(ctx, img, d, a)
	if err != nil {
		return nil, err
	}
	// Flushed once, then made known.
	if err := s.sync(); err != nil {
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

// take brings an image's blobs in and unpacks them.
func (s *Store) take(ctx context.Context, img v1.Image, d *v1.Descriptor, a Adding) (*Image, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return nil, fmt.Errorf("reading the image's manifest: %w", err)
	}
	rawManifest, err := img.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("reading the image's manifest: %w", err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	added, err := newImage(d.Digest, int64(len(rawManifest)), manifest, config)
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("reading the image's layers: %w", err)
	}
	for i, l := range layers {
		step := Step{Layer: i + 1, Layers: len(layers), Size: manifest.Layers[i].Size}
		if err := s.takeLayer(ctx, l, manifest.Layers[i], step, a.Progress); err != nil {
			return nil, fmt.Errorf("storing layer %d of %d: %w", i+1, len(layers), err)
		}
		if err := s.unpack(ctx, added, i); err != nil {
			return nil, fmt.Errorf("unpacking layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	for hash, raw := range map[v1.Hash][]byte{manifest.Config.Digest: config, d.Digest: rawManifest} {
		if err := s.writeBlob(hash, bytes.NewReader(raw)); err != nil {
			return nil, err
		}
	}
	return added, nil
}

func (s *Store) takeLayer(ctx context.Context, l v1.Layer, d v1.Descriptor, step Step, progress func(Step)) error {
	if t := d.MediaType; !t.IsLayer() || t == types.OCIRestrictedLayer || t == types.OCIUncompressedRestrictedLayer || t == types.DockerForeignLayer {
		return fmt.Errorf("it is of the kind %s, which is no layer of a Linux image", t)
	}
	if progress != nil {
		progress(step)
	}
	if _, err := os.Stat(s.blob(d.Digest)); err == nil {
		return nil
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	return s.writeBlob(d.Digest, &watched{ctx: ctx, r: r, step: step, progress: progress})
}

// watched reports what is read and ends with the context.
type watched struct {
	ctx      context.Context
	r        io.Reader
	step     Step
	told     int64
	progress func(Step)
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.r.Read(p)
	w.step.Bytes += int64(n)
	if w.progress != nil && w.step.Bytes-w.told > tellEvery {
		w.told = w.step.Bytes
		w.progress(w.step)
	}
	return n, err
}

// tellEvery is how many bytes lie between two words of progress.
const tellEvery = 4 << 20

// writeBlob stores content under its digest, which is checked.
func (s *Store) writeBlob(h v1.Hash, r io.Reader) error {
	if h.Algorithm != "sha256" {
		return fmt.Errorf("blob %s: only sha256 is known here", h)
	}
	if _, err := os.Stat(s.blob(h)); err == nil {
		return nil
	}
	f, err := os.CreateTemp(s.tmp(), "blob-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), r); err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != h.Hex {
		return fmt.Errorf("blob %s has the content of sha256:%s: the image is damaged", h, got)
	}
	// Not only in the cache: what has its name is whole after a power cut, too.
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.blob(h))
}

func (s *Store) layerDir(chainID string) string {
	h, err := v1.NewHash(chainID)
	if err != nil {
		return filepath.Join(s.layers(), "none")
	}
	return filepath.Join(s.layers(), h.Hex)
}

// unpack unpacks the image's layer of that number unless it is there. Those
// below are.
func (s *Store) unpack(ctx context.Context, img *Image, i int) error {
	if s.unpacked(img.Chain[i]) {
		return nil
	}
	release, err := s.lock(unpackLock, exclusive)
	if err != nil {
		return err
	}
	defer release()
	if s.unpacked(img.Chain[i]) {
		return nil
	}
	blob := &blobLayer{path: s.blob(img.layers[i].Digest), Descriptor: img.layers[i]}
	l, err := partial.CompressedToLayer(blob)
	if err != nil {
		return err
	}
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	work, err := os.MkdirTemp(s.tmp(), "layer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	dir := filepath.Join(work, "fs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	result, err := layer.Unpack(ctx, dir, r, img.diffs[i], s.stack(img.Chain[:i]), s.ids)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, metaFile), raw, 0o600); err != nil {
		return err
	}
	if err := os.Chmod(work, 0o700); err != nil {
		return err
	}
	// A layer under its name is on disk: the kernel keeps no order of its own.
	if err := s.sync(); err != nil {
		return err
	}
	return os.Rename(work, s.layerDir(img.Chain[i]))
}

// metaFile beside an unpacked layer's files holds its layer.Result.
const metaFile = "layer.json"

func (s *Store) unpacked(chainID string) bool {
	_, err := os.Stat(filepath.Join(s.layerDir(chainID), metaFile))
	return err == nil
}

// stack is the folders of a chain, the topmost first.
func (s *Store) stack(chain []string) layer.Stack {
	var dirs layer.Stack
	for i := len(chain) - 1; i >= 0; i-- {
		dirs = append(dirs, filepath.Join(s.layerDir(chain[i]), "fs"))
	}
	return dirs
}

// sync waits until the disk has all that was written.
func (s *Store) sync() error {
	f, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("waiting for the disk: %w", err)
	}
	return nil
}

// blobLayer is a layer in the store.
type blobLayer struct {
	v1.Descriptor
	path string
}

func (b *blobLayer) Digest() (v1.Hash, error)            { return b.Descriptor.Digest, nil }
func (b *blobLayer) Size() (int64, error)                { return b.Descriptor.Size, nil }
func (b *blobLayer) MediaType() (types.MediaType, error) { return b.Descriptor.MediaType, nil }
func (b *blobLayer) Compressed() (io.ReadCloser, error)  { return os.Open(b.path) }

var _ partial.CompressedLayer = (*blobLayer)(nil)

// Prepare unpacks what is missing of an image: its layers were unpacked under
// another mapping of ids, or by an import that was cut short.
func (s *Store) Prepare(ctx context.Context, img *Image) error {
	release, err := s.lock(contentLock, shared)
	if err != nil {
		return err
	}
	defer release()
	for i := range img.Chain {
		if err := s.unpack(ctx, img, i); err != nil {
			return fmt.Errorf("unpacking layer %d of %d of image %s: %w", i+1, len(img.Chain), img.ID, err)
		}
	}
	return nil
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
