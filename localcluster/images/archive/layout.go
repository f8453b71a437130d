package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layout reads an OCI layout. Images of other platforms are passed over. Where
// a part is missing the error is fs.ErrNotExist: some engines write an index
// that leads nowhere beside their own format.
func (a *Archive) layout() ([]Found, error) {
	var index v1.IndexManifest
	if err := a.readJSON("index.json", &index); err != nil {
		return nil, err
	}
	var all []Found
	var others []string
	for _, d := range index.Manifests {
		found, platforms, err := a.descriptor(d)
		if err != nil {
			return nil, err
		}
		if found == nil {
			others = append(others, platforms...)
			continue
		}
		if ref := d.Annotations["io.containerd.image.name"]; ref != "" {
			found.Names = []string{ref}
		} else if ref := d.Annotations["org.opencontainers.image.ref.name"]; strings.ContainsAny(ref, ":/") {
			found.Names = []string{ref}
		} else {
			found.Tag = ref
		}
		all = merge(all, *found)
	}
	if len(all) == 0 && len(others) > 0 {
		return nil, fmt.Errorf("it holds images for %s, and this machine is %s: export the image for this platform", strings.Join(others, ", "), platform())
	}
	if len(all) == 0 {
		return nil, ErrNoImages
	}
	return all, nil
}

// merge adds an image, or its names to the same image.
func merge(all []Found, f Found) []Found {
	digest, err := f.Image.Digest()
	if err == nil {
		for i := range all {
			if d, err := all[i].Image.Digest(); err == nil && d == digest && f.Tag == "" {
				all[i].Names = append(all[i].Names, f.Names...)
				return all
			}
		}
	}
	return append(all, f)
}

func platform() string { return "linux/" + runtime.GOARCH }

// descriptor reads the image that a descriptor leads to, through an index of
// platforms where there is one; else it says which platforms there are.
func (a *Archive) descriptor(d v1.Descriptor) (*Found, []string, error) {
	if d.MediaType.IsIndex() {
		raw, err := a.read(blobPath(d.Digest))
		if err != nil {
			return nil, nil, err
		}
		inner, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, nil, fmt.Errorf("index %s: %w", d.Digest, err)
		}
		var others []string
		for _, m := range inner.Manifests {
			found, platforms, err := a.descriptor(m)
			// An export of one platform leaves the others' manifests out.
			if errors.Is(err, fs.ErrNotExist) && !fits(m.Platform) {
				others = append(others, m.Platform.String())
				continue
			}
			if err != nil || found != nil {
				return found, nil, err
			}
			others = append(others, platforms...)
		}
		return nil, others, nil
	}
	if !d.MediaType.IsImage() {
		return nil, []string{"something that is no image (" + string(d.MediaType) + ")"}, nil
	}
	if !fits(d.Platform) {
		return nil, []string{d.Platform.String()}, nil
	}
	raw, err := a.read(blobPath(d.Digest))
	if err != nil {
		return nil, nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	config, err := a.read(blobPath(m.Config.Digest))
	if err != nil {
		return nil, nil, err
	}
	c, err := v1.ParseConfigFile(bytes.NewReader(config))
	if err != nil {
		return nil, nil, fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	if p := c.Platform(); !fits(p) {
		return nil, []string{p.String()}, nil
	}
	parts := map[v1.Hash]string{}
	for _, l := range m.Layers {
		r, _, err := a.files.open(blobPath(l.Digest))
		if err != nil {
			return nil, nil, err
		}
		r.Close()
		parts[l.Digest] = blobPath(l.Digest)
	}
	mediaType := d.MediaType
	if mediaType == "" {
		mediaType = types.OCIManifestSchema1
	}
	img, err := newImage(a.files, raw, config, mediaType, m, parts)
	return &Found{Image: img}, nil, err
}

// fits tells whether an image for a platform runs here; most without one do.
func fits(p *v1.Platform) bool {
	if p == nil || p.Architecture == "" {
		return true
	}
	return slices.Contains([]string{"", "linux"}, p.OS) && p.Architecture == runtime.GOARCH
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
