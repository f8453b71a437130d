package hostimage

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// In a user namespace the system's files belong to nobody who is mapped, and
// nothing can be made in their folders, whatever capability one has. folders is
// a copy of the trees' folders alone, which belongs to this namespace's root and
// lies above each tree: then pip and a package manager find folders of their
// own, in which they can make, replace and remove files. A file's content stays
// whose it was: it cannot be changed in place.
//
// The copy is made when it is first needed, a second's work for 20 000 folders,
// and kept in base for as long as the trees look the same.
type folders struct {
	base string
	once sync.Once
	dir  string
	err  error
}

const (
	// maxFolders bounds the copy; what lies deepest is left out.
	maxFolders = 100_000
	// looked is how deep the trees are looked at to see whether they changed.
	looked = 3
)

// fixed are trees that package managers of their own keep, which write elsewhere.
var fixed = []string{"nix", "snap"}

// prepare returns the folder that holds a copy of each tree's folders.
func (f *folders) prepare(trees []string) (string, error) {
	f.once.Do(func() {
		if f.dir, f.err = f.find(trees); f.err != nil {
			f.err = fmt.Errorf("copying the system's folders: %w", f.err)
		}
	})
	return f.dir, f.err
}

func (f *folders) find(trees []string) (string, error) {
	if err := os.MkdirAll(f.base, 0o700); err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, t := range trees {
		if err := fingerprint(sum, "/"+t, looked); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(f.base, hex.EncodeToString(sum.Sum(nil)[:12]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	part, err := os.MkdirTemp(f.base, "part-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	if err := copyFolders(part, trees); err != nil {
		return "", err
	}
	err = os.Rename(part, dir)
	if errors.Is(err, fs.ErrExist) {
		err = nil // another one was quicker
	}
	return dir, err
}

// fingerprint notes what tells that something was installed or removed.
func fingerprint(sum hash.Hash, path string, depth int) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return ignoreGone(err)
	}
	if !fi.IsDir() {
		return nil
	}
	sum.Write([]byte(path))
	sum.Write(binary.AppendVarint(nil, fi.ModTime().UnixNano()))
	if depth == 0 {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return ignoreGone(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := fingerprint(sum, filepath.Join(path, e.Name()), depth-1); err != nil {
			return err
		}
	}
	return nil
}

// copyFolders makes the trees' folders below to, level by level. One that cannot
// be read stays as it is, and so does what another file system holds: an overlay
// shows neither.
func copyFolders(to string, trees []string) error {
	level := trees
	for left := maxFolders; len(level) > 0; {
		var next []string
		for _, path := range level {
			if left == 0 {
				return nil
			}
			below, err := copyFolder(to, path)
			if err != nil {
				return err
			}
			next = append(next, below...)
			left--
		}
		level = next
	}
	return nil
}

// copyFolder makes one folder and names those in it.
func copyFolder(to, path string) (below []string, err error) {
	from := "/" + path
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, ignoreGone(err)
	}
	fi, err := os.Lstat(from)
	if err != nil {
		return nil, ignoreGone(err)
	}
	own, parent := device(from), device(filepath.Dir(from))
	if own != parent && filepath.Dir(path) != "." {
		return nil, nil
	}
	if err := mkdir(filepath.Join(to, path), os.FileMode(fi.Sys().(*syscall.Stat_t).Mode&0o1777|0o700)); err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			below = append(below, filepath.Join(path, e.Name()))
		}
	}
	return below, nil
}

func device(path string) uint64 {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return 0
	}
	return st.Dev
}

// ignoreGone passes over what went away meanwhile and what is not shown to us.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// copied are the trees that get folders of their own.
func (img *Image) copied() []string {
	var names []string
	for _, t := range img.Trees {
		if t.How == Overlay && !slices.Contains(fixed, t.Name) {
			names = append(names, t.Name)
		}
	}
	return names
}

// OwnFolders makes the copy of the trees' folders, if this image needs one and
// it is not there. With alone, which says that no container runs, copies of
// other times go.
func (img *Image) OwnFolders(alone bool) error {
	if img.folders == nil {
		return nil
	}
	dir, err := img.folders.prepare(img.copied())
	if err != nil || !alone {
		return err
	}
	all, err := os.ReadDir(img.folders.base)
	if err != nil {
		return fmt.Errorf("removing old copies of the system's folders: %w", err)
	}
	for _, e := range all {
		if path := filepath.Join(img.folders.base, e.Name()); path != dir {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("removing old copies of the system's folders: %w", err)
			}
		}
	}
	return nil
}

// lower are the layers below a container's own in a tree.
func (img *Image) lower(tree string) []string {
	layers := []string{"/" + tree}
	if img.folders == nil || slices.Contains(fixed, tree) {
		return layers
	}
	dir, err := img.folders.prepare(img.copied())
	if err != nil {
		return layers // OwnFolders has said so
	}
	own := filepath.Join(dir, tree)
	if _, err := os.Stat(own); err != nil {
		return layers
	}
	return append([]string{own}, layers...)
}
