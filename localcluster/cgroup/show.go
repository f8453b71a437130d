package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Show mounts the group, and nothing above it, at a folder of the root that is
// being built at base. Without a group it does nothing.
func (g Group) Show(base, at string) error {
	if len(g.Folders) == 0 {
		return nil
	}
	if folder, v2 := g.Folders[""]; v2 {
		return bind(folder, base+at)
	}
	if err := os.MkdirAll(base+at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", base+at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("showing the pods' control group: %w", err)
	}
	for hierarchy, folder := range g.Folders {
		if err := bind(folder, filepath.Join(base+at, hierarchy)); err != nil {
			return err
		}
	}
	// Beside version 1, version 2 controls nothing; libcontainer would join it all the same.
	err := unix.Unmount(base+filepath.Join(Root, "unified"), unix.MNT_DETACH)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("hiding a second tree of control groups: %w", err)
	}
	return nil
}

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("showing the pods' control group: %w", err)
	}
	return nil
}
