// Package ociimage makes container images from files, without a registry or a
// container engine, and writes them as `docker save` does. Tests build the
// images of their pods with it.
package ociimage

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Recipe is what one image consists of.
type Recipe struct {
	// Base, where there is one, is its first layer.
	Base   *Base
	Files  []File
	Config v1.Config
}

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Image makes the image.
func (r Recipe) Image() (v1.Image, error) {
	var layers []v1.Layer
	if r.Base != nil {
		base, err := r.Base.Layer()
		if err != nil {
			return nil, err
		}
		layers = append(layers, base)
	}
	if len(r.Files) > 0 {
		own, err := layerOf(r.Files)
		if err != nil {
			return nil, err
		}
		layers = append(layers, own)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.DockerManifestSchema2), layers...)
	if err != nil {
		return nil, err
	}
	f, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	f = f.DeepCopy()
	f.OS, f.Architecture, f.Config = "linux", runtime.GOARCH, r.Config
	f.Config.Env = append([]string{searchPath}, f.Config.Env...)
	return mutate.ConfigFile(img, f)
}

// Save makes an image for each of the names for which there is a recipe, by the
// last part of the repository, and writes them all to one archive. A recipe that
// no name asks for is an error: what it is for has another name by now.
func Save(archive string, names io.Reader, recipes map[string]Recipe) error {
	made, all := map[string]v1.Image{}, map[name.Reference]v1.Image{}
	lines := bufio.NewScanner(names)
	for lines.Scan() {
		ref, err := name.NewTag(strings.TrimSpace(lines.Text()))
		if err != nil {
			continue // programs that print such lists also print what they log
		}
		repo := ref.RepositoryStr()
		short := repo[strings.LastIndex(repo, "/")+1:]
		r, ok := recipes[short]
		if !ok {
			continue
		}
		if made[short] == nil {
			if made[short], err = r.Image(); err != nil {
				return fmt.Errorf("building %s: %w", ref, err)
			}
		}
		all[ref] = made[short]
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the list of images: %w", err)
	}
	for _, short := range slices.Sorted(maps.Keys(recipes)) {
		if made[short] == nil {
			return fmt.Errorf("no image on the list is called %s; look at what this version asks for", short)
		}
	}
	if err := tarball.MultiRefWriteToFile(archive, all); err != nil {
		return fmt.Errorf("writing %s: %w", archive, err)
	}
	return nil
}
