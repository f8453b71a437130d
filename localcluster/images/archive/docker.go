package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// docker reads the format of `docker save`. It has no manifests: they are made,
// with the layers as they lie, mostly not compressed.
func (a *Archive) docker(ctx context.Context) ([]Found, error) {
	var entries []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := a.readJSON("manifest.json", &entries); err != nil {
		return nil, err
	}
	known := map[string]v1.Descriptor{}
	var all []Found
	for _, e := range entries {
		config, err := a.read(e.Config)
		if err != nil {
			return nil, err
		}
		c, err := v1.ParseConfigFile(bytes.NewReader(config))
		if err != nil {
			return nil, fmt.Errorf("%s of the archive: %w", e.Config, err)
		}
		if p := c.Platform(); !fits(p) {
			return nil, fmt.Errorf("image %v is for %s, and this machine is %s: save the image for this platform", e.RepoTags, p, platform())
		}
		if len(c.RootFS.DiffIDs) != len(e.Layers) {
			return nil, fmt.Errorf("image %v has %d layers and digests of %d: the archive is damaged", e.RepoTags, len(e.Layers), len(c.RootFS.DiffIDs))
		}
		m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
		m.Config = describe(types.OCIConfigJSON, config)
		parts := map[v1.Hash]string{}
		for i, path := range e.Layers {
			d, ok := known[path]
			if !ok {
				if d, err = a.describeLayer(ctx, path, c.RootFS.DiffIDs[i]); err != nil {
					return nil, err
				}
				known[path] = d
			}
			m.Layers = append(m.Layers, d)
			parts[d.Digest] = path
		}
		raw, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		img, err := newImage(a.files, raw, config, m.MediaType, &m, parts)
		if err != nil {
			return nil, err
		}
		all = append(all, Found{Image: img, Names: e.RepoTags})
	}
	if len(all) == 0 {
		return nil, ErrNoImages
	}
	return all, nil
}

func describe(t types.MediaType, content []byte) v1.Descriptor {
	sum := sha256.Sum256(content)
	return v1.Descriptor{MediaType: t, Size: int64(len(content)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}}
}

// describeLayer finds a layer's digest: where it is not compressed its image
// knows it already, else it is counted.
func (a *Archive) describeLayer(ctx context.Context, path string, diffID v1.Hash) (v1.Descriptor, error) {
	r, size, err := a.files.open(path)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer r.Close()
	head := make([]byte, 6)
	n, err := io.ReadFull(r, head)
	if err != nil && n == 0 {
		return v1.Descriptor{}, fmt.Errorf("layer %s of the archive: %w", path, err)
	}
	d := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: size, Digest: diffID}
	switch kindOf(head[:n]) {
	case "gzip":
		d.MediaType = types.OCILayer
	case "zstd":
		d.MediaType = types.OCILayerZStd
	default:
		return d, nil
	}
	sum := sha256.New()
	sum.Write(head[:n])
	if _, err := io.Copy(sum, &watched{ctx, r}); err != nil {
		return d, fmt.Errorf("layer %s of the archive: %w", path, err)
	}
	d.Digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	return d, nil
}
