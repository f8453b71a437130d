package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	differ "github.com/containerd/containerd/v2/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Settings are what an image says beside its files.
type Settings struct {
	Command    []string
	Env        []string
	WorkingDir string
	User       string
}

// defaultPath is the search path of an image for which none is set.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Rootfs makes an image of a root file system: a folder, or a tar archive of
// one. The archive must stay open for as long as the image is read.
func Rootfs(ctx context.Context, from, scratch string, s Settings) (*Archive, v1.Image, error) {
	st, err := os.Stat(from)
	if err != nil {
		return nil, nil, err
	}
	if !st.IsDir() {
		f, err := os.Open(from)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		return RootfsFrom(ctx, f, scratch, s)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(differ.WriteDiff(ctx, w, "", from)) }()
	defer r.Close()
	return RootfsFrom(ctx, r, scratch, s)
}

// RootfsFrom makes an image of a stream with a tar archive, compressed or not.
func RootfsFrom(ctx context.Context, r io.Reader, scratch string, s Settings) (*Archive, v1.Image, error) {
	plain, err := expand(r)
	if err != nil {
		return nil, nil, err
	}
	f, err := nameless(scratch)
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(f, sum), &watched{ctx, plain})
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	layer := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: size, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}}
	img, err := rootImage(oneFile{f, size}, layer, s)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return &Archive{close: f.Close}, img, nil
}

func rootImage(file files, layer v1.Descriptor, s Settings) (v1.Image, error) {
	if s.WorkingDir != "" && !strings.HasPrefix(s.WorkingDir, "/") {
		return nil, fmt.Errorf("working directory %q: want an absolute path", s.WorkingDir)
	}
	env := slices.Clone(s.Env)
	for _, e := range env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return nil, fmt.Errorf("environment %q: want NAME=VALUE", e)
		}
	}
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		env = append([]string{defaultPath}, env...)
	}
	now := v1.Time{Time: time.Now().UTC().Truncate(time.Second)}
	config, err := json.Marshal(v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux", Created: now,
		Config:  v1.Config{Cmd: s.Command, Env: env, WorkingDir: s.WorkingDir, User: s.User},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layer.Digest}},
		History: []v1.History{{Created: now, Comment: "a root file system, by studio image import"}},
	})
	if err != nil {
		return nil, err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: describe(types.OCIConfigJSON, config), Layers: []v1.Descriptor{layer}}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return newImage(file, raw, config, m.MediaType, &m, map[v1.Hash]string{layer.Digest: ""})
}

// oneFile is an archive that is one layer.
type oneFile struct {
	f    *os.File
	size int64
}

func (o oneFile) open(string) (io.ReadCloser, int64, error) {
	return io.NopCloser(io.NewSectionReader(o.f, 0, o.size)), o.size, nil
}

// nameless makes a file whose space is given back with its descriptor, however
// this program ends.
func nameless(scratch string) (*os.File, error) {
	f, err := os.CreateTemp(scratch, "archive-")
	if err != nil {
		return nil, err
	}
	// Somebody who clears the folder may have been quicker.
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
		f.Close()
		return nil, err
	}
	return f, nil
}
