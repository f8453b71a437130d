// Package hostimage makes a container's root out of the node's: one writable
// overlay for each of the system's trees, so that any image with a command runs
// with the programs of this machine, and what it writes goes with it.
package hostimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// Names are the trees that a container sees, below the root. What is missing
// on a machine is left out; a link is made anew.
var Names = []string{"usr", "etc", "opt", "srv", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "snap", "nix"}

// How a tree appears in a container.
type How int

// A tree is writable through an overlay, or read-only where the kernel refuses
// one, or a symbolic link.
const (
	Overlay How = iota
	ReadOnly
	Link
)

// Tree is one of the system's trees.
type Tree struct {
	Name string
	How  How
	// Target of a link.
	Target string
	// Options for an overlay, besides its folders.
	Options string
	// Why it is read-only.
	Why error
}

// Image is the host as a container's image.
type Image struct {
	Trees []Tree
	// FreshSys tells that a container can have its own /sys; else it gets the node's, read-only.
	FreshSys bool
	// TerminalGroup tells that group 5, which owns terminals, is mapped.
	TerminalGroup bool
	// folders is nil where the system's folders belong to this process' root anyway.
	folders *folders
}

// Discover looks at this process' root and tries each overlay once, with its
// writable layer on the file system of scratch. In a user namespace a copy of
// the system's folders is kept in cache, on the same file system.
func Discover(scratch, cache string, rootless bool) (*Image, error) {
	img := &Image{}
	if rootless {
		img.folders = &folders{base: cache}
	}
	for _, name := range Names {
		path := "/" + name
		fi, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking at the system's %s: %w", path, err)
		}
		t := Tree{Name: name}
		if fi.Mode()&fs.ModeSymlink != 0 {
			t.How = Link
			if t.Target, err = os.Readlink(path); err != nil {
				return nil, fmt.Errorf("looking at the system's %s: %w", path, err)
			}
		} else if !fi.IsDir() {
			continue
		}
		img.Trees = append(img.Trees, t)
	}
	if err := img.probe(scratch, rootless); err != nil {
		return nil, fmt.Errorf("trying out mounts for containers: %w", err)
	}
	return img, nil
}

// ReadOnlyTrees lists the trees that containers cannot write to, with the reason.
func (img *Image) ReadOnlyTrees() map[string]error {
	ro := map[string]error{}
	for _, t := range img.Trees {
		if t.How == ReadOnly {
			ro["/"+t.Name] = t.Why
		}
	}
	return ro
}

// Layer is where one container's own files lie.
type Layer struct {
	// Dir is the container's folder.
	Dir string
}

// Root is the folder that becomes /.
func (l Layer) Root() string { return filepath.Join(l.Dir, "root") }

// Upper is the folder that takes what is written below a tree.
func (l Layer) Upper(tree string) string { return filepath.Join(l.Dir, "upper", tree) }

// Work is the kernel's own folder beside Upper.
func (l Layer) Work(tree string) string { return filepath.Join(l.Dir, "work", tree) }

// skeleton are the folders of an empty root.
var skeleton = []struct {
	path string
	mode os.FileMode
}{
	{"proc", 0o555}, {"sys", 0o555}, {"dev", 0o755}, {"run", 0o755}, {"run/lock", 0o1777}, {"tmp", 0o1777}, {"mnt", 0o755}, {"media", 0o755}, {"home", 0o755}, {"root", 0o700},
	{"var", 0o755}, {"var/tmp", 0o1777}, {"var/log", 0o755}, {"var/lib", 0o755}, {"var/cache", 0o755}, {"var/spool", 0o755}, {"var/opt", 0o755}, {"var/local", 0o755},
}

// Prepare makes the folders of a layer and returns its first mounts.
func (img *Image) Prepare(l Layer) ([]shimapi.Mount, error) {
	root := l.Root()
	// A start that was cut short has left a part.
	for _, old := range []string{root, filepath.Join(l.Dir, "upper"), filepath.Join(l.Dir, "work")} {
		if err := os.RemoveAll(old); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	for _, d := range skeleton {
		if err := mkdir(filepath.Join(root, d.path), d.mode); err != nil {
			return nil, err
		}
	}
	for link, target := range map[string]string{"var/run": "/run", "var/lock": "/run/lock"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			return nil, err
		}
	}
	var mounts []shimapi.Mount
	for _, t := range img.Trees {
		at := filepath.Join(root, t.Name)
		if t.How == Link {
			if err := os.Symlink(t.Target, at); err != nil {
				return nil, err
			}
			continue
		}
		if err := mkdir(at, 0o755); err != nil {
			return nil, err
		}
		if t.How == ReadOnly {
			mounts = append(mounts, shimapi.Mount{Source: "/" + t.Name, Target: "/" + t.Name, Type: "bind", ReadOnly: true, RecursiveReadOnly: true})
			continue
		}
		for _, d := range []string{l.Upper(t.Name), l.Work(t.Name)} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return nil, err
			}
		}
		mounts = append(mounts, shimapi.Mount{Source: "overlay", Target: "/" + t.Name, Type: "overlay", Data: overlayData(img.lower(t.Name), l.Upper(t.Name), l.Work(t.Name), t.Options)})
	}
	return append(mounts, img.System()...), nil
}

func mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	// Chmod, as the umask and Go's meaning of 01000 are in the way of Mkdir.
	m := mode & 0o777
	if mode&0o1000 != 0 {
		m |= os.ModeSticky
	}
	return os.Chmod(path, m)
}

var (
	escapeLower = strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`)
	escapeUpper = strings.NewReplacer(`\`, `\\`, `,`, `\,`)
)

func overlayData(lower []string, upper, work, options string) string {
	escaped := make([]string, len(lower))
	for i, l := range lower {
		escaped[i] = escapeLower.Replace(l)
	}
	return "lowerdir=" + strings.Join(escaped, ":") + ",upperdir=" + escapeUpper.Replace(upper) + ",workdir=" + escapeUpper.Replace(work) + options
}
