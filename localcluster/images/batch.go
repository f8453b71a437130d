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

// batch is new content on its way in. It lies in tmp until all of it is on
// disk: a thing under its own name is whole after a power cut, too, and a wait
// for the disk for each of a hundred layers would take longer than all the rest.
type batch struct {
	s *Store
	// blobs and layers are paths in tmp by digests and chain IDs; order has both
	// kinds' renames, as they came.
	blobs  map[v1.Hash]string
	layers map[string]string
	order  []move
}

type move struct{ from, to string }

func (s *Store) newBatch() *batch {
	return &batch{s: s, blobs: map[v1.Hash]string{}, layers: map[string]string{}}
}

// commit gives everything its name.
func (b *batch) commit() error {
	if len(b.order) == 0 {
		return nil
	}
	if err := b.s.sync(); err != nil {
		return err
	}
	for _, m := range b.order {
		if err := os.MkdirAll(filepath.Dir(m.to), 0o700); err != nil {
			return err
		}
		err := os.Rename(m.from, m.to)
		// Somebody else was quicker with the same.
		if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	for _, dir := range []string{b.s.blobs(), b.s.layers()} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// drop removes what was not committed.
func (b *batch) drop() {
	for _, m := range b.order {
		_ = os.RemoveAll(m.from) // whoever collects next finds what is left
	}
}

// take brings an image's blobs in and unpacks them.
func (b *batch) take(ctx context.Context, img v1.Image, d *v1.Descriptor, progress func(Step)) (*Image, error) {
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
		if err := b.takeLayer(ctx, l, manifest.Layers[i], step, progress); err != nil {
			return nil, fmt.Errorf("storing layer %d of %d: %w", i+1, len(layers), err)
		}
		if err := b.unpack(ctx, added, i); err != nil {
			return nil, fmt.Errorf("unpacking layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	if err := b.writeBlob(manifest.Config.Digest, bytes.NewReader(config)); err != nil {
		return nil, err
	}
	return added, b.writeBlob(d.Digest, bytes.NewReader(rawManifest))
}

func (b *batch) takeLayer(ctx context.Context, l v1.Layer, d v1.Descriptor, step Step, progress func(Step)) error {
	if t := d.MediaType; !t.IsLayer() || t == types.OCIRestrictedLayer || t == types.OCIUncompressedRestrictedLayer || t == types.DockerForeignLayer {
		return fmt.Errorf("it is of the kind %s, which is no layer of a Linux image", t)
	}
	if progress != nil {
		progress(step)
	}
	if b.has(d.Digest) {
		return nil
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	return b.writeBlob(d.Digest, &watched{ctx: ctx, r: r, step: step, progress: progress})
}

// blob is where a blob lies now.
func (b *batch) blob(h v1.Hash) string {
	if path := b.blobs[h]; path != "" {
		return path
	}
	return b.s.blob(h)
}

func (b *batch) has(h v1.Hash) bool {
	_, err := os.Stat(b.blob(h))
	return err == nil
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
func (b *batch) writeBlob(h v1.Hash, r io.Reader) error {
	if h.Algorithm != "sha256" {
		return fmt.Errorf("blob %s: only sha256 is known here", h)
	}
	if b.has(h) {
		return nil
	}
	f, err := os.CreateTemp(b.s.tmp(), "blob-")
	if err != nil {
		return err
	}
	defer f.Close()
	b.order = append(b.order, move{f.Name(), b.s.blob(h)})
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), r); err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != h.Hex {
		return fmt.Errorf("blob %s has the content of sha256:%s: the image is damaged", h, got)
	}
	b.blobs[h] = f.Name()
	return nil
}

// unpack unpacks the image's layer of that number unless it is there. Those
// below are.
func (b *batch) unpack(ctx context.Context, img *Image, i int) error {
	chain := img.Chain[i]
	if b.layers[chain] != "" || b.s.unpacked(chain) {
		return nil
	}
	blob := &blobLayer{path: b.blob(img.layers[i].Digest), Descriptor: img.layers[i]}
	l, err := partial.CompressedToLayer(blob)
	if err != nil {
		return err
	}
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	work, err := os.MkdirTemp(b.s.tmp(), "layer-") // 0700: nobody walks into it by its path
	if err != nil {
		return err
	}
	b.order = append(b.order, move{work, b.s.layerDir(chain)})
	dir := filepath.Join(work, "fs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	result, err := layer.Unpack(ctx, dir, r, img.diffs[i], b.stack(img.Chain[:i]), b.s.ids)
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
	b.layers[chain] = work
	return nil
}

// stack is the folders of a chain, the topmost first.
func (b *batch) stack(chain []string) layer.Stack {
	dirs := b.s.stack(chain)
	for i, c := range chain {
		if work := b.layers[c]; work != "" {
			dirs[len(chain)-1-i] = filepath.Join(work, "fs")
		}
	}
	return dirs
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
