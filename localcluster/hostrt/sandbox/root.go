package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// mountImages mounts what of a container is made of images' layers, its root
// and volumes, in the calling process' mount namespace. A started container has
// mounts of its own, so these are for the moment of the start.
func mountImages(spec *shimapi.Spec) (unmount func(), err error) {
	var mounted []string
	undo := func() {
		for _, path := range slices.Backward(mounted) {
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
	}
	defer func() {
		if err != nil {
			undo()
		}
	}()
	if o := spec.Overlay; o != nil {
		options := ",upperdir=" + escape(o.Upper) + ",workdir=" + escape(o.Work) + o.Options
		if err := mountLayers(spec.Root, o.Lower, options, 0); err != nil {
			return nil, fmt.Errorf("%w; the data directory must lie on a file system that can be an overlay's upper layer, such as ext4, xfs or btrfs", err)
		}
		mounted = append(mounted, spec.Root)
	}
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		switch m.Type {
		case shimapi.OwnFolder:
			if err := ownFolder(spec.Root, m); err != nil {
				return nil, err
			}
		case shimapi.ImageVolume:
			at, err := imageVolume(m)
			if at != "" {
				mounted = append(mounted, at)
			}
			if err != nil {
				return nil, fmt.Errorf("mounting the image volume at %s: %w", m.Target, err)
			}
		}
	}
	return undo, nil
}

// mountLayers mounts an overlay.
func mountLayers(at string, layers []string, options string, flags uintptr) error {
	lower := make([]string, 0, len(layers))
	for _, dir := range layers {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening the image's layer %s: %w", dir, err)
		}
		defer unix.Close(fd)
		// The options must fit a page, and an image may have a hundred layers
		// with long paths: descriptors have short ones.
		lower = append(lower, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	if err := unix.Mount("overlay", at, "overlay", flags, "lowerdir="+strings.Join(lower, ":")+options); err != nil {
		return fmt.Errorf("mounting an overlay of the image's %d layers on %s: %w", len(layers), at, err)
	}
	return nil
}

// imageVolume mounts an image below the mount's source and turns the mount into
// a bind of it, or of a part of it.
func imageVolume(m *shimapi.Mount) (mounted string, err error) {
	at, empty := filepath.Join(m.Source, "image"), filepath.Join(m.Source, "empty")
	for _, dir := range []string{at, empty} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	// Without an upper folder the kernel wants two lower ones.
	if err := mountLayers(at, append(slices.Clone(m.Layers), empty), ",userxattr", volumeFlags|unix.MS_RDONLY); err != nil {
		return "", err
	}
	part, err := securejoin.SecureJoin(at, m.SubPath)
	if err != nil {
		return at, err
	}
	if _, err := os.Lstat(part); err != nil {
		return at, fmt.Errorf("subPath %q is not in the image", m.SubPath)
	}
	m.Type, m.Source, m.Flags = "bind", part, m.Flags|volumeFlags
	return at, nil
}

// volumeFlags are what Kubernetes promises of an image volume: data, not programs.
const volumeFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// ownFolder turns a mount of the root's own folder into a bind of it.
func ownFolder(root string, m *shimapi.Mount) error {
	// Links in the image lead within the image.
	at, err := securejoin.SecureJoin(root, m.Target)
	if err == nil {
		err = os.MkdirAll(at, 0o755)
	}
	if err != nil {
		return fmt.Errorf("making the image's volume %s: %w", m.Target, err)
	}
	m.Type, m.Source = "bind", at
	return nil
}

var escape = strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace
