package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may pass, as in the kernel.
const maxLinks = 40

// maxFile bounds what ReadFile takes into memory.
const maxFile = 4 << 20

// Stack is the folders of an image's layers, the topmost first.
type Stack []string

// ReadFile reads a regular file as a container of the image would see it,
// without a mount. One that is not there is fs.ErrNotExist.
func (s Stack) ReadFile(path string) ([]byte, error) {
	real, err := s.find(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s of the image: %w", path, err)
	}
	// The image's author chooses what lies there: nothing that blocks or has effects.
	f, err := os.OpenFile(real, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("reading %s of the image: %w", path, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s of the image: %w", path, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return raw, err
}

// find walks a path through the merged folders and returns where its end lies.
func (s Stack) find(path string) (string, error) {
	rest := split(path)
	// dirs are the folders that are merged at each depth walked so far.
	depth := []Stack{s}
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			if len(depth) > 1 {
				depth = depth[:len(depth)-1]
			}
			continue
		}
		found, dirs, err := depth[len(depth)-1].step(name)
		switch {
		case err != nil:
			return "", err
		case dirs != nil:
			depth = append(depth, dirs)
			continue
		}
		target, err := os.Readlink(found)
		if err != nil { // no link
			if len(rest) > 0 {
				return "", unix.ENOTDIR
			}
			return found, nil
		}
		if links++; links > maxLinks {
			return "", unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			depth = depth[:1]
		}
		rest = append(split(target), rest...)
	}
	return "", unix.EISDIR
}

// step looks a name up in merged folders: either a thing that is no folder, or
// the folders that are merged under that name.
func (s Stack) step(name string) (found string, dirs Stack, err error) {
	for _, dir := range s {
		at := filepath.Join(dir, name)
		var st unix.Stat_t
		switch err := unix.Lstat(at, &st); {
		case errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			return "", nil, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 { // deleted here
			break
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if dirs == nil {
				return at, nil, nil
			}
			break
		}
		dirs = append(dirs, at)
		var value [1]byte
		if n, err := unix.Lgetxattr(at, opaqueXattr, value[:]); err == nil && n == 1 && value[0] == 'y' {
			break
		}
	}
	if dirs == nil {
		return "", nil, fs.ErrNotExist
	}
	return "", dirs, nil
}

func split(path string) []string {
	var parts []string
	for p := range strings.SplitSeq(path, "/") {
		if p != "" && p != "." {
			parts = append(parts, p)
		}
	}
	return parts
}

// Has tells whether a container of the image would find something at a path.
func (s Stack) Has(path string) bool {
	_, err := s.find(path)
	return err == nil || errors.Is(err, unix.EISDIR)
}
