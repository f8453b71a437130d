package sandbox

import (
	"fmt"
	"os"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// mountRoot mounts the root of a container that is an image, in the calling
// process' mount namespace. A started container has a mount of its own, so this
// one is for the moment of the start.
func mountRoot(spec *shimapi.Spec) (unmount func(), err error) {
	o := spec.Overlay
	if o == nil {
		return func() {}, nil
	}
	lower := make([]string, 0, len(o.Lower))
	for _, dir := range o.Lower {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening the image's layer %s: %w", dir, err)
		}
		defer unix.Close(fd)
		// The options must fit a page, and an image may have a hundred layers
		// with long paths: descriptors have short ones.
		lower = append(lower, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	data := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + escape(o.Upper) + ",workdir=" + escape(o.Work) + o.Options
	if err := unix.Mount("overlay", spec.Root, "overlay", 0, data); err != nil {
		return nil, fmt.Errorf("mounting an overlay of the image's %d layers in %s: %w; the data directory must lie on a file system that can be an overlay's upper layer, such as ext4, xfs or btrfs", len(o.Lower), o.Upper, err)
	}
	unmount = func() { _ = unix.Unmount(spec.Root, unix.MNT_DETACH) }
	for i := range spec.Mounts {
		if m := &spec.Mounts[i]; m.Type == shimapi.OwnFolder {
			if err := ownFolder(spec.Root, m); err != nil {
				unmount()
				return nil, err
			}
		}
	}
	return unmount, nil
}

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
