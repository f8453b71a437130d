package holder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tree is a detached copy of a mounted tree, to be attached in any namespace.
type tree struct{ fd int }

// copyTree copies what is mounted at path and below. Read-only trees are cut
// off from later mounts of the host, which would arrive writable; others get them.
func copyTree(path string, readOnly bool) (tree, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return tree{}, fmt.Errorf("copying the mounts of %s: %w", path, err)
	}
	t := tree{fd}
	if readOnly {
		attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
			t.close()
			return tree{}, fmt.Errorf("making %s read-only: %w", path, err)
		}
	}
	return t, nil
}

// attach mounts the tree at path in the mount namespace of the calling thread.
func (t tree) attach(path string) error {
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting %s: %w", path, err)
	}
	return nil
}

func (t tree) close() { unix.Close(t.fd) }

// bind mounts the tree at from on to, which is made where it is missing.
func bind(from, to string, readOnly bool) error {
	t, err := copyTree(from, readOnly)
	if err != nil {
		return err
	}
	defer t.close()
	if err := mountPoint(from, to); err != nil {
		return err
	}
	return t.attach(to)
}

// mountPoint makes a folder or an empty file at to, like what lies at from.
func mountPoint(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return os.MkdirAll(to, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// mount makes the folder and mounts a new file system on it.
func mount(fstype, to string, flags uintptr, options string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fstype, to, fstype, flags, options); err != nil {
		return fmt.Errorf("mounting a %s on %s: %w", fstype, to, err)
	}
	return nil
}

// symlink makes a link, in place of what an earlier root left there.
func symlink(target, link string) error {
	err := os.Symlink(target, link)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if old, err := os.Readlink(link); err == nil && old == target {
		return nil
	}
	if err := os.Remove(link); err != nil {
		return err
	}
	return os.Symlink(target, link)
}
