// Package layer turns the tar stream of an image's layer into a folder that can
// be a lower directory of an overlay mounted with userxattr, and reads files
// through a stack of such folders. Paths and links of the stream are confined
// to the folder; its bytes are checked against the layer's digest.
package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Result says what an unpacked layer is, and what of it could not be kept.
type Result struct {
	// Bytes of regular files.
	Bytes int64 `json:"bytes"`
	// Files of all kinds.
	Files int `json:"files"`
	// Owners counts the files that belong to another user than root in the image
	// and to root here, as there is one id only.
	Owners int `json:"owners,omitempty"`
	// Devices counts device nodes, which a plain user can not make.
	Devices int `json:"devices,omitempty"`
}

const (
	whiteout     = ".wh."
	opaqueMarker = ".wh..wh..opq"
	// opaqueXattr is overlay's own under the mount option userxattr, which is
	// used as root, too: so the folder means the same in all modes.
	opaqueXattr = "user.overlay.opaque"
	xattrRecord = "SCHILY.xattr."
)

// Unpack fills the existing empty folder dir from an uncompressed tar stream
// with the given SHA-256. Parents are the folders of the layers below, the
// nearest first: a folder that the stream only passes through looks like theirs.
func Unpack(ctx context.Context, dir string, r io.Reader, diffID string, parents []string, ids IDs) (Result, error) {
	u := &unpacking{ids: ids}
	sum := sha256.New()
	stream := io.TeeReader(r, sum)
	options := []archive.ApplyOpt{archive.WithFilter(u.filter), archive.WithConvertWhiteout(convertWhiteout), archive.WithParents(parents)}
	if ids.Single {
		options = append(options, archive.WithNoSameOwner())
	}
	if err := inherit(dir, parents); err != nil {
		return u.result, err
	}
	if _, err := archive.Apply(quiet(ctx), dir, stream, options...); err != nil {
		return u.result, err
	}
	// Behind the end of an archive there may be zeroes, which count for the digest.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return u.result, err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != diffID {
		return u.result, fmt.Errorf("the layer's content is %s, and its image names %s: the image is damaged", got, diffID)
	}
	return u.result, u.applyRoot(dir)
}

type unpacking struct {
	ids    IDs
	result Result
	// root is the stream's entry for the folder itself, if it has one.
	root *tar.Header
}

// filter leaves out what can not be made here and counts what is lost.
func (u *unpacking) filter(h *tar.Header) (bool, error) {
	if h.Name == "." || h.Name == "/" {
		u.root = h
		return false, nil
	}
	for key := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, xattrRecord); ok && !kept(name, u.ids) {
			delete(h.PAXRecords, key)
		}
	}
	device := h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar
	if device && u.ids.InUserNS {
		u.result.Devices++
		return false, nil
	}
	if u.ids.Single && (h.Uid != 0 || h.Gid != 0) {
		u.result.Owners++
	}
	u.result.Files++
	if h.Typeflag == tar.TypeReg {
		u.result.Bytes += h.Size
	}
	return true, nil
}

// kept tells whether an extended attribute is kept: not overlay's own, which a
// layer could lead astray with, and none that the kernel would refuse.
func kept(name string, ids IDs) bool {
	switch {
	case strings.HasPrefix(name, "user.overlay."), strings.HasPrefix(name, "trusted.overlay."):
		return false
	case strings.HasPrefix(name, "user."), name == "security.capability":
		return true
	case strings.HasPrefix(name, "system.posix_acl_"):
		// Its ids are the host's numbers; the kernel refuses those that are not mapped.
		return !ids.InUserNS
	}
	return false
}

func convertWhiteout(h *tar.Header, path string) (bool, error) {
	dir, base := filepath.Split(path)
	if base == opaqueMarker {
		return false, unix.Setxattr(dir, opaqueXattr, []byte("y"), 0)
	}
	name, ok := strings.CutPrefix(base, whiteout)
	if !ok {
		return true, nil
	}
	err := unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		err = nil // the layer has one of its own, which hides what is below
	}
	if err != nil {
		return false, fmt.Errorf("noting that %s is deleted: %w", h.Name, err)
	}
	return false, nil
}

// inherit gives dir the look of the nearest parent's root.
func inherit(dir string, parents []string) error {
	if len(parents) == 0 {
		return os.Chmod(dir, 0o755)
	}
	return CopyOwner(parents[0], dir)
}

// CopyOwner gives a folder the owner and the mode of another one.
func CopyOwner(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return &os.PathError{Op: "stat", Path: from, Err: err}
	}
	if err := os.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: to, Err: err}
	}
	return nil
}

// applyRoot makes the folder look like the stream's entry for it.
func (u *unpacking) applyRoot(dir string) error {
	if u.root == nil {
		return nil
	}
	if !u.ids.Single {
		if err := os.Chown(dir, u.root.Uid, u.root.Gid); err != nil {
			return err
		}
	}
	return unix.Chmod(dir, uint32(u.root.Mode)&0o7777)
}

// quiet keeps the library from writing to this program's standard error.
func quiet(ctx context.Context) context.Context {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return log.WithLogger(ctx, logrus.NewEntry(l))
}
