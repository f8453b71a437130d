package hostrt

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// openShared opens the node's mounts of volumes whose mounts go both ways.
func openShared(mounts []shimapi.Mount) (files []*os.File, err error) {
	for _, m := range mounts {
		if !m.Shared {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			shimapi.CloseAll(files)
			return nil, fmt.Errorf("volume at %s: opening %s: %w", m.Target, m.Source, err)
		}
		files = append(files, os.NewFile(uintptr(fd), m.Source))
	}
	return files, nil
}
