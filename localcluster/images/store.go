// Package images is the node's store of real images: an OCI layout with the
// manifests and blobs as they came, and each layer unpacked once, ready to be a
// lower directory of containers' overlays. The command line and the node use
// it at the same time, from two processes; all that must agree is on disk.
//
//	oci/            OCI image layout; index.json has one descriptor a name
//	layers/IDS/X/   the unpacked layer of chain ID X, in fs, owned by ids of the mapping IDS
//	uses/C          the chain IDs that container C stands on
//	tmp/            what is not finished
//
// Whatever appears under its name in oci/blobs and layers is whole and on disk.
// Ids of other users exist only inside the node's user namespace: adding and
// removing images is for a process in one with the same mapping, or for root.
package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/images/layer"
)

// ErrUnknown means that the store has no such image.
var ErrUnknown = errors.New("no such image in the local store")

// Store is one store. It may be used from several goroutines and processes.
type Store struct {
	dir string
	ids layer.IDs

	mu    sync.Mutex
	index cached[indexed]
	mode  cached[Mode]
}

// Open makes the store's folders where they are missing.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	var err error
	if s.ids, err = layer.CurrentIDs(); err != nil {
		return nil, fmt.Errorf("opening the image store: %w", err)
	}
	for _, d := range []string{s.blobs(), filepath.Join(s.dir, "layers"), s.uses(), s.tmp()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("opening the image store: %w", err)
		}
	}
	marker := filepath.Join(s.oci(), "oci-layout")
	if _, err := os.Stat(marker); errors.Is(err, os.ErrNotExist) {
		if err := datadir.WriteFile(marker, []byte(`{"imageLayoutVersion":"1.0.0"}`+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("opening the image store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) oci() string       { return filepath.Join(s.dir, "oci") }
func (s *Store) blobs() string     { return filepath.Join(s.dir, "oci", "blobs", "sha256") }
func (s *Store) indexFile() string { return filepath.Join(s.dir, "oci", "index.json") }
func (s *Store) layers() string    { return filepath.Join(s.dir, "layers", s.ids.Key) }
func (s *Store) uses() string      { return filepath.Join(s.dir, "uses") }
func (s *Store) tmp() string       { return filepath.Join(s.dir, "tmp") }

// Scratch is a folder on the store's disk for what is on its way into it.
func (s *Store) Scratch() string { return s.tmp() }

// cached is what a small file says, read again when it was replaced.
type cached[T any] struct {
	known bool
	stamp os.FileInfo
	value T
}

// get reads the file by way of read unless it is the one that was read before.
// A file that is missing is the zero value.
func (c *cached[T]) get(path string, read func([]byte) (T, error)) (T, error) {
	var zero T
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		*c = cached[T]{}
		return zero, nil
	}
	if err != nil {
		return zero, err
	}
	// Files here are replaced by rename: a new one has another number or time.
	if c.known && os.SameFile(c.stamp, now) && c.stamp.ModTime().Equal(now.ModTime()) && c.stamp.Size() == now.Size() {
		return c.value, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return zero, err
	}
	value, err := read(raw)
	if err != nil {
		return zero, fmt.Errorf("reading %s: %w", path, err)
	}
	*c = cached[T]{known: true, stamp: now, value: value}
	return value, nil
}

func (s *Store) layerDir(chainID string) string {
	h, err := v1.NewHash(chainID)
	if err != nil {
		return filepath.Join(s.layers(), "none")
	}
	return filepath.Join(s.layers(), h.Hex)
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

// syncDir waits until the disk has a folder's names. One that is not there has none.
func syncDir(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
