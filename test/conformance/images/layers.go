package main

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

// sources are the places that images are made from.
type sources struct {
	base, programs, upstream string

	debian v1.Layer
}

// file is one entry of a layer: a folder, a link, or a file with its content
// given or read from somewhere.
type file struct {
	path    string
	mode    os.FileMode
	link    string
	from    string
	content []byte
}

// layer is the Debian tree, compressed once for all images.
func (s *sources) layer() (v1.Layer, error) {
	if s.debian == nil {
		l, err := tarball.LayerFromFile(s.base, tarball.WithCompressedCaching)
		if err != nil {
			return nil, fmt.Errorf("reading the Debian tree: %w", err)
		}
		s.debian = l
	}
	return s.debian, nil
}

// read returns a file of the Debian tree.
func (s *sources) read(name string) ([]byte, error) {
	f, err := os.Open(s.base)
	if err != nil {
		return nil, fmt.Errorf("opening the Debian tree: %w", err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("the Debian tree %s has no %s", s.base, name)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the Debian tree: %w", err)
		}
		if strings.TrimPrefix(h.Name, "./") == name && h.Typeflag == tar.TypeReg {
			return io.ReadAll(r)
		}
	}
}

// layerOf packs files, which belong to root and have no time of their own, so
// that the same files make the same layer.
func layerOf(files []file) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	made := map[string]bool{".": true}
	for _, f := range files {
		if err := parents(w, path.Dir(f.path), made); err != nil {
			return nil, err
		}
		made[f.path] = true
		if err := f.pack(w); err != nil {
			return nil, fmt.Errorf("packing %s: %w", f.path, err)
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
// the Debian tree that is harmless: they are the same folders.
func parents(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := parents(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return file{path: dir, mode: os.ModeDir | 0o755}.pack(w)
}

func (f file) pack(w *tar.Writer) error {
	h := &tar.Header{Name: f.path, Mode: int64(f.mode.Perm()), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	for bit, is := range map[int64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if f.mode&is != 0 {
			h.Mode |= bit
		}
	}
	content := f.content
	switch {
	case f.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
	case f.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, f.path+"/"
	case f.from != "":
		var err error
		if content, err = os.ReadFile(f.from); err != nil {
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
