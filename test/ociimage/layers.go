package ociimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is one entry of a layer: a folder, a link, or a file whose content is
// given or read from a file.
type File struct {
	Path    string
	Mode    os.FileMode
	Link    string
	From    string
	Content []byte
}

// Base is a tree of packages that images share as their first layer.
type Base struct {
	// Tar is the file that holds it.
	Tar string

	layer v1.Layer
}

// Layer compresses the tree once for all images.
func (b *Base) Layer() (v1.Layer, error) {
	if b.layer == nil {
		l, err := tarball.LayerFromFile(b.Tar, tarball.WithCompressedCaching)
		if err != nil {
			return nil, fmt.Errorf("reading the tree of packages: %w", err)
		}
		b.layer = l
	}
	return b.layer, nil
}

// Read returns a file of the tree.
func (b *Base) Read(name string) ([]byte, error) {
	f, err := os.Open(b.Tar)
	if err != nil {
		return nil, fmt.Errorf("opening the tree of packages: %w", err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("the tree of packages %s has no %s", b.Tar, name)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the tree of packages: %w", err)
		}
		if strings.TrimPrefix(h.Name, "./") == name && h.Typeflag == tar.TypeReg {
			return io.ReadAll(r)
		}
	}
}

// layerOf packs files, which belong to root and have no time of their own, so
// that the same files make the same layer.
func layerOf(files []File) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	made := map[string]bool{".": true}
	for _, f := range files {
		if err := parents(w, path.Dir(f.Path), made); err != nil {
			return nil, err
		}
		made[f.Path] = true
		if err := f.pack(w); err != nil {
			return nil, fmt.Errorf("packing %s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithCompressedCaching)
}

// parents packs the folders above a file that are not there yet. In a layer on
// a tree of packages that is harmless: they are the same folders.
func parents(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := parents(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return File{Path: dir, Mode: os.ModeDir | 0o755}.pack(w)
}

func (f File) pack(w *tar.Writer) error {
	h := &tar.Header{Name: f.Path, Mode: int64(f.Mode.Perm()), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	for bit, is := range map[int64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if f.Mode&is != 0 {
			h.Mode |= bit
		}
	}
	content := f.Content
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.Mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
	case f.From != "":
		var err error
		if content, err = os.ReadFile(f.From); err != nil {
			return err
		}
	}
	h.Size = int64(len(content))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
