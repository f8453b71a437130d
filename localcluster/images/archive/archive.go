// Package archive reads images out of files: what `docker save` and its kin
// write, and OCI image layouts in an archive or a folder. Nothing is unpacked:
// an image's layers are read from where they lie.
package archive

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// Found is one image of an archive.
type Found struct {
	Image v1.Image
	// Names as the archive has them, most often complete; Tag is one without a
	// repository, as OCI layouts may have it.
	Names []string
	Tag   string
}

// Archive is an opened archive.
type Archive struct {
	files files
	close func() error
}

// files finds the parts of an archive by their paths.
type files interface {
	open(path string) (io.ReadCloser, int64, error)
}

// Open opens a file or a folder. A compressed file is expanded in scratch, where
// it takes space until Close.
func Open(ctx context.Context, path, scratch string) (*Archive, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		return &Archive{files: folder{root}, close: root.Close}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 6)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil || kindOf(head[:n]) != "" {
		// A pipe, or something to expand.
		defer f.Close()
		return Spool(ctx, io.MultiReader(bytes.NewReader(skip(head[:n], err == nil)), f), scratch)
	}
	return index(f)
}

// skip is what was read already of a stream that cannot go back.
func skip(head []byte, seekable bool) []byte {
	if seekable {
		return nil
	}
	return head
}

// Spool takes an archive from a stream, compressed or not, into a file of scratch.
func Spool(ctx context.Context, r io.Reader, scratch string) (*Archive, error) {
	f, err := nameless(scratch)
	if err != nil {
		return nil, err
	}
	plain, err := expand(r)
	if err == nil {
		_, err = io.Copy(f, &watched{ctx, plain})
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return index(f)
}

type watched struct {
	ctx context.Context
	io.Reader
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Reader.Read(p)
}

// kindOf names the compression that a file's first bytes show, or nothing.
func kindOf(head []byte) string {
	for kind, magic := range map[string]string{"gzip": "\x1f\x8b", "zstd": "\x28\xb5\x2f\xfd", "xz": "\xfd7zXZ\x00", "bzip2": "BZh"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return kind
		}
	}
	return ""
}

func expand(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 1<<20)
	head, err := b.Peek(6)
	if err != nil && len(head) == 0 {
		return nil, errors.New("the file is empty")
	}
	switch kind := kindOf(head); kind {
	case "gzip":
		return gzip.NewReader(b)
	case "zstd":
		return zstd.NewReader(b)
	case "":
		return b, nil
	default:
		return nil, fmt.Errorf("the file is compressed with %s: expand it first, as with `%s -dc FILE | studio image import -`", kind, kind)
	}
}

// Close gives back what Open took.
func (a *Archive) Close() error { return a.close() }

// ErrNoImages means that a file is no archive of images.
var ErrNoImages = errors.New("it holds no images: neither manifest.json, as `docker save` writes it, nor the index.json of an OCI layout")

// Images reads which images there are. Layers are not read yet, unless their
// digests are nowhere else.
func (a *Archive) Images(ctx context.Context) ([]Found, error) {
	// Newer engines write both; the layout's manifests are the original ones.
	all, err := a.layout()
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return all, err
	}
	all, err = a.docker(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		if _, _, missing := a.files.open("manifest.json"); missing != nil {
			return nil, ErrNoImages
		}
	}
	return all, err
}

// read takes a small part into memory.
func (a *Archive) read(path string) ([]byte, error) {
	r, size, err := a.files.open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > maxJSON {
		return nil, fmt.Errorf("%s has %d bytes: it is no description of an image", path, size)
	}
	return io.ReadAll(r)
}

const maxJSON = 32 << 20

func (a *Archive) readJSON(path string, into any) error {
	raw, err := a.read(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s of the archive: %w", path, err)
	}
	return nil
}

// folder is the files of a directory, confined to it.
type folder struct{ root *os.Root }

func (d folder) open(path string) (io.ReadCloser, int64, error) {
	f, err := d.root.Open(filepath.FromSlash(strings.TrimPrefix(path, "/")))
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}
