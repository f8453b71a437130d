package archive

import (
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image is an image whose layers lie in an archive.
type image struct {
	files     files
	manifest  []byte
	config    []byte
	mediaType types.MediaType
	layers    []v1.Descriptor
	// parts are the layers' paths, by their digests.
	parts map[v1.Hash]string
}

func newImage(f files, manifest, config []byte, t types.MediaType, m *v1.Manifest, parts map[v1.Hash]string) (v1.Image, error) {
	return partial.CompressedToImage(&image{files: f, manifest: manifest, config: config, mediaType: t, layers: m.Layers, parts: parts})
}

func (i *image) RawManifest() ([]byte, error)        { return i.manifest, nil }
func (i *image) RawConfigFile() ([]byte, error)      { return i.config, nil }
func (i *image) MediaType() (types.MediaType, error) { return i.mediaType, nil }

func (i *image) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range i.layers {
		if d.Digest == h {
			return &layer{Descriptor: d, files: i.files, path: i.parts[h]}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

type layer struct {
	v1.Descriptor
	files files
	path  string
}

func (l *layer) Digest() (v1.Hash, error)            { return l.Descriptor.Digest, nil }
func (l *layer) Size() (int64, error)                { return l.Descriptor.Size, nil }
func (l *layer) MediaType() (types.MediaType, error) { return l.Descriptor.MediaType, nil }

func (l *layer) Compressed() (io.ReadCloser, error) {
	r, _, err := l.files.open(l.path)
	return r, err
}
