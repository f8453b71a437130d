package sandbox

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// PrepareMounts makes the calling process' own mount namespace ready for
// containers: the node's mounts come in, none go out, /dev/shm of the pod is at
// shm, and of the host's control groups only those below groups are there to be
// changed; without any they are read-only, for libcontainer would make some.
func PrepareMounts(shm, groups string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keeping the pod's mounts apart: %w", err)
	}
	if err := unix.Mount("shm", shm, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=50%"); err != nil {
		return fmt.Errorf("mounting the pod's shared memory: %w", err)
	}
	const cg = "/sys/fs/cgroup"
	from := groups
	if groups == "" {
		from = cg
	} else if !cgroups.IsCgroup2UnifiedMode() {
		// Version 1 is many mounts, and libcontainer would join those that are only hidden.
		if err := unix.Unmount(cg, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("leaving the host's control groups: %w", err)
		}
	}
	if err := unix.Mount(from, cg, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting the pod's control groups: %w", err)
	}
	if groups != "" {
		return nil
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, cg, unix.AT_RECURSIVE, attr); err != nil {
		return fmt.Errorf("protecting %s: %w", cg, err)
	}
	return nil
}

// AttachShared puts the node's own mounts, which came as descriptors, where the
// container's binds can find them: what is mounted below these goes both ways.
// The returned function takes them away again, from the shim only.
func AttachShared(spec *shimapi.Spec, mounts []*os.File) (drop func(), err error) {
	var attached []string
	drop = func() {
		for _, at := range attached {
			// Alone first, or the node would lose what is mounted below.
			if err := unix.Mount("", at, "", unix.MS_PRIVATE|unix.MS_REC, ""); err == nil {
				_ = unix.Unmount(at, unix.MNT_DETACH)
			}
		}
	}
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if !m.Shared {
			continue
		}
		if len(mounts) == 0 {
			drop()
			return nil, shimapi.Errorf("the mount for %s is missing", m.Target)
		}
		at := filepath.Join(spec.Dir, fmt.Sprintf("shared-%d", len(attached)))
		if err := attach(mounts[0], at); err != nil {
			drop()
			return nil, fmt.Errorf("attaching the volume for %s: %w", m.Target, err)
		}
		attached, mounts = append(attached, at), mounts[1:]
		m.Source = at
	}
	return drop, nil
}

func attach(mount *os.File, at string) error {
	fi, err := mount.Stat()
	if err != nil {
		return err
	}
	if fi.IsDir() {
		err = os.MkdirAll(at, 0o700)
	} else {
		err = os.WriteFile(at, nil, 0o600)
	}
	if err != nil {
		return err
	}
	return unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
