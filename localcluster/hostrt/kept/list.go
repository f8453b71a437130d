package kept

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Kept is what one container left.
type Kept struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// Container is its name and how often it had been started before.
	Container string    `json:"container"`
	Time      time.Time `json:"time"`
	// Files by their paths in the container, sorted.
	Files []string `json:"files"`
	Bytes int64    `json:"bytes"`
	// Dir holds them, at the same paths.
	Dir string `json:"dir"`
}

// List reads a store's folder, the oldest first. A folder that is not there is empty.
func List(store string) ([]Kept, error) {
	dirs, err := filepath.Glob(filepath.Join(store, "*", "*"))
	if err != nil {
		return nil, err
	}
	all := []Kept{}
	for _, dir := range dirs {
		k := Kept{Dir: dir, Container: filepath.Base(dir)}
		// Neither part can hold an underscore.
		k.Namespace, k.Pod, _ = strings.Cut(filepath.Base(filepath.Dir(dir)), "_")
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just made room
		}
		if err != nil {
			return nil, err
		}
		k.Time = info.ModTime()
		err = filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			k.Files, k.Bytes = append(k.Files, strings.TrimPrefix(at, dir)), k.Bytes+info.Size()
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("listing kept files: %w", err)
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b Kept) int { return a.Time.Compare(b.Time) })
	return all, nil
}

// Copy writes the files below a folder, where none of them may be. It returns
// their new paths.
func (k Kept) Copy(to string) ([]string, error) {
	var all []string
	for _, file := range k.Files {
		target := filepath.Join(to, file)
		if err := copyNew(filepath.Join(k.Dir, file), target); err != nil {
			return all, fmt.Errorf("recovering %s: %w", file, err)
		}
		all = append(all, target)
	}
	return all, nil
}

func copyNew(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
