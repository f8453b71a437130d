// Package kept saves files that would vanish with a container's writable layer:
// they are moved aside, within a disk budget, oldest containers dropped first.
package kept

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Store is a folder of saved files.
type Store struct {
	Dir string
	// Budget in bytes; nothing is kept with 0.
	Budget int64

	mu sync.Mutex
}

// Source is a folder of written files and where it lay in the container.
type Source struct{ Dir, At string }

// Result names the files that were found, by their paths in the container,
// sorted, and where they are kept; an empty Dir means that they did not fit.
type Result struct {
	Files []string
	Dir   string
	Bytes int64
}

type found struct {
	host, inside string
	size         int64
}

// Save moves the files of the sources, but for those at or below the paths of
// skip, into the folder name of the store.
func (s *Store) Save(name string, sources []Source, skip []string) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var files []found
	for _, src := range sources {
		more, err := find(src, skip)
		if err != nil {
			return Result{}, err
		}
		files = append(files, more...)
	}
	var r Result
	for _, f := range files {
		r.Files = append(r.Files, f.inside)
		r.Bytes += f.size
	}
	slices.Sort(r.Files)
	if len(files) == 0 || r.Bytes > s.Budget {
		return r, nil
	}
	if err := s.makeRoom(r.Bytes); err != nil {
		return r, err
	}
	dir, err := s.fresh(name)
	if err != nil {
		return r, err
	}
	for _, f := range files {
		if err := move(f.host, filepath.Join(dir, f.inside)); err != nil {
			return r, fmt.Errorf("keeping %s: %w", f.inside, err)
		}
	}
	r.Dir = dir
	return r, nil
}

// fresh makes a folder that is not there yet: a pod of the same name may have
// left files before.
func (s *Store) fresh(name string) (string, error) {
	dir := filepath.Join(s.Dir, name)
	for i := 1; ; i++ {
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			return "", fmt.Errorf("keeping files: %w", err)
		}
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("keeping files: %w", err)
		}
		dir = filepath.Join(s.Dir, fmt.Sprintf("%s.%d", name, i))
	}
}

func find(src Source, skip []string) ([]found, error) {
	var all []found
	err := filepath.WalkDir(src.Dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src.Dir, p)
		if err != nil {
			return err
		}
		inside := path.Join(src.At, rel)
		if d.IsDir() {
			if isCache(d.Name()) || below(inside, skip) {
				return fs.SkipDir
			}
			return nil
		}
		// Neither links nor the devices by which an overlay marks what was deleted.
		if !d.Type().IsRegular() || strings.HasSuffix(inside, ".pyc") || below(inside, skip) {
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		all = append(all, found{p, inside, fi.Size()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for a container's files in %s: %w", src.Dir, err)
	}
	return all, nil
}

func isCache(name string) bool {
	return name == "__pycache__" || name == ".cache" || name == ".pytest_cache" || name == ".ipynb_checkpoints"
}

func below(p string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return p == f || strings.HasPrefix(p, strings.TrimSuffix(f, "/")+"/") })
}

// move renames a file, or copies it where the two lie on different file systems.
func move(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	return errors.Join(err, out.Close())
}

// makeRoom removes the oldest containers' files until so many bytes fit.
func (s *Store) makeRoom(need int64) error {
	all, err := List(s.Dir)
	if err != nil {
		return fmt.Errorf("making room for kept files: %w", err)
	}
	var total int64
	for _, k := range all {
		total += k.Bytes
	}
	for _, k := range all {
		if total+need <= s.Budget {
			break
		}
		if err := os.RemoveAll(k.Dir); err != nil {
			return fmt.Errorf("making room for kept files: %w", err)
		}
		// The pod's folder goes with its last container.
		_ = os.Remove(filepath.Dir(k.Dir))
		total -= k.Bytes
	}
	return nil
}
