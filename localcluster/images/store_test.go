package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/mlstudio/studio/localcluster/images/layer"
)

// newStore opens a store that may also be used by a plain user: the files under
// test belong to whoever runs it.
func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newLayer makes a layer of files by their names; those that end in / are folders.
func newLayer(t *testing.T, files ...string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1])), Uid: os.Getuid(), Gid: os.Getgid()}
		if strings.HasSuffix(files[i], "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(b.Bytes(), types.OCIUncompressedLayer)
}

func newTestImage(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func add(t *testing.T, s *Store, img v1.Image, names ...string) *Image {
	t.Helper()
	added, err := s.Add(t.Context(), img, Adding{Names: names, Pinned: true})
	if err != nil {
		t.Fatal(err)
	}
	return added
}

// left counts what the store has on disk of blobs and of layers.
func left(t *testing.T, s *Store) (blobs, layers, tmp int) {
	t.Helper()
	for into, pattern := range map[*int]string{&blobs: "oci/blobs/sha256/*", &layers: "layers/*/*", &tmp: "tmp/*"} {
		found, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		*into = len(found)
	}
	return blobs, layers, tmp
}

func read(t *testing.T, s *Store, img *Image, path string) string {
	t.Helper()
	stacks, err := s.Use("reader", img)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release("reader")
	raw, err := stacks[0].ReadFile(path)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(raw)
}

func TestNamesMove(t *testing.T) {
	s := newStore(t)
	one := newTestImage(t, newLayer(t, "a", "1"))
	two := newTestImage(t, newLayer(t, "a", "2"))
	first := add(t, s, one, "docker.io/library/x:1", "docker.io/library/x:latest")
	second := add(t, s, two, "docker.io/library/x:latest")
	for name, want := range map[string]string{
		"x": second.ID, "x:latest": second.ID, "docker.io/library/x": second.ID, "x:1": first.ID, "x@" + first.Digest: first.ID,
		"docker.io/x:1@" + second.Digest: second.ID, first.ID: first.ID, first.ID[7:19]: first.ID,
	} {
		if got, err := s.Get(name); err != nil || got.ID != want {
			t.Errorf("%s is %v, %v; want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"y", "x:2", "other.example/x:1", "sha256:" + strings.Repeat("0", 64)} {
		if got, err := s.Get(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s is %v, %v", name, got, err)
		}
	}
	if _, err := s.Get("NOT A NAME"); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("a malformed name: %v", err)
	}
	// An image that lost its only name to another is still there, by its ID.
	if names, err := s.Remove("x:1"); err != nil || !slices.Equal(names, []string{"docker.io/library/x:1"}) {
		t.Errorf("removed %v, %v", names, err)
	}
	if _, err := s.Get(first.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("an image without a name is kept: %v", err)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].ID != second.ID || !list[0].Pinned || time.Since(list[0].Added) > time.Minute {
		t.Errorf("list %+v, %v", list, err)
	}
}

// TestSecondProcess sees at once what another store object, as another process
// has it, changes.
func TestSecondProcess(t *testing.T) {
	s := newStore(t)
	other, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		name := fmt.Sprintf("docker.io/library/x:%d", i)
		if _, err := other.Get(name); !errors.Is(err, ErrUnknown) {
			t.Fatalf("%s before it was added: %v", name, err)
		}
		add(t, s, newTestImage(t, newLayer(t, "a", name)), name)
		if _, err := other.Get(name); err != nil {
			t.Fatalf("%s after it was added: %v", name, err)
		}
	}
	if m, err := other.Mode(); err != nil || m != Auto {
		t.Errorf("mode %s, %v", m, err)
	}
	if err := s.SetMode(OCI); err != nil {
		t.Fatal(err)
	}
	if m, err := other.Mode(); err != nil || m != OCI {
		t.Errorf("mode %s, %v", m, err)
	}
}

func TestSharedLayersAndSpace(t *testing.T) {
	s := newStore(t)
	base := newLayer(t, "base", "b", "gone", "g", "dir/", "", "dir/old", "o")
	top := newLayer(t, ".wh.gone", "", "dir/.wh..wh..opq", "", "dir/new", "n")
	lower := add(t, s, newTestImage(t, base), "docker.io/library/lower:1")
	upper := add(t, s, newTestImage(t, base, top), "docker.io/library/upper:1")
	if blobs, layers, tmp := left(t, s); blobs != 6 || layers != 2 || tmp != 0 {
		t.Errorf("%d blobs, %d layers, %d unfinished", blobs, layers, tmp)
	}
	for path, want := range map[string]string{"/base": "b", "/dir/new": "n"} {
		if got := read(t, s, upper, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"/gone", "/dir/old"} {
		if got := read(t, s, upper, path); !strings.Contains(got, "no such file") && !strings.Contains(got, "not exist") {
			t.Errorf("%s is %q, and it was deleted", path, got)
		}
		if got := read(t, s, lower, path); len(got) != 1 {
			t.Errorf("%s of the lower image is %q", path, got)
		}
	}
	if u, err := s.Usage(); err != nil || u.Bytes < 4 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if _, err := s.Remove("upper:1"); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, _ := left(t, s); blobs != 3 || layers != 1 {
		t.Errorf("after a removal %d blobs, %d layers", blobs, layers)
	}
	// Layers in use stay until they are given back.
	if _, err := s.Use("c1", lower); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(lower.ID); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, _ := left(t, s); blobs != 0 || layers != 1 {
		t.Errorf("in use: %d blobs, %d layers", blobs, layers)
	}
	if err := errors.Join(s.Forget(func(c string) bool { return c == "c1" }), s.Collect()); err != nil {
		t.Fatal(err)
	}
	if _, layers, _ := left(t, s); layers != 1 {
		t.Error("a layer in use was removed")
	}
	if err := s.Forget(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, tmp := left(t, s); blobs+layers+tmp != 0 {
		t.Errorf("at the end %d blobs, %d layers, %d unfinished", blobs, layers, tmp)
	}
}

// broken is a layer whose stream is not what its digests say, or ends early.
type broken struct {
	v1.Layer
	content []byte
	err     error
}

func (b broken) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(bytes.NewReader(b.content), failing{b.err})), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

func TestBrokenImagesLeaveNothing(t *testing.T) {
	s := newStore(t)
	good := newLayer(t, "a", "a")
	cut := errors.New("the line was cut")
	for name, tc := range map[string]struct {
		layer v1.Layer
		says  string
	}{
		"other content": {broken{Layer: good, content: []byte("something else")}, "damaged"},
		"cut":           {broken{Layer: good, err: cut}, cut.Error()},
		"no archive":    {static.NewLayer([]byte("no archive, but with the right digest"), types.OCIUncompressedLayer), "unexpected EOF"},
		"foreign kind":  {static.NewLayer([]byte("x"), types.DockerForeignLayer), "no layer of a Linux image"},
	} {
		img := newTestImage(t, newLayer(t, "b", name), tc.layer)
		_, err := s.Add(t.Context(), img, Adding{Names: []string{"docker.io/library/bad:1"}})
		if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "layer 2 of 2") {
			t.Errorf("%s: %v", name, err)
		}
		if blobs, layers, tmp := left(t, s); blobs+layers+tmp != 0 {
			t.Errorf("%s: left %d blobs, %d layers, %d unfinished", name, blobs, layers, tmp)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Add(ctx, newTestImage(t, good), Adding{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled addition: %v", err)
	}
}

// TestCrash collects what a killed process left, and never a part of it counts.
func TestCrash(t *testing.T) {
	s := newStore(t)
	img := newTestImage(t, newLayer(t, "a", "a"))
	b := s.newBatch()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.take(t.Context(), img, &v1.Descriptor{Digest: d}, nil); err != nil {
		t.Fatal(err)
	}
	// Killed before, and in the middle of, giving names.
	if err := os.Rename(b.order[0].from, b.order[0].to); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := again.List(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	added := add(t, again, img, "docker.io/library/x:1")
	if got := read(t, again, added, "a"); got != "a" {
		t.Errorf("content %q", got)
	}
	if err := again.Collect(); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, tmp := left(t, again); blobs != 3 || layers != 1 || tmp != 0 {
		t.Errorf("%d blobs, %d layers, %d unfinished", blobs, layers, tmp)
	}
}

// TestCollectWaitsForNobody leaves what somebody adds in peace.
func TestCollectWaitsForNobody(t *testing.T) {
	s := newStore(t)
	release, err := s.lock(contentLock, shared)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.tmp(), "blob-1")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Collect(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("what is being added was removed: %v", err)
	}
	release()
	if err := s.Collect(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("what nobody adds stays")
	}
}

func TestConcurrentAdds(t *testing.T) {
	s := newStore(t)
	base := newLayer(t, "base", strings.Repeat("x", 1<<16))
	done := make(chan error)
	for i := range 8 {
		img := newTestImage(t, base, newLayer(t, "own", fmt.Sprint(i%4)))
		go func() {
			_, err := s.Add(context.Background(), img, Adding{Names: []string{fmt.Sprintf("docker.io/library/n:%d", i)}})
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != 4 {
		t.Errorf("%d images, %v", len(list), err)
	}
	if _, layers, tmp := left(t, s); layers != 5 || tmp != 0 {
		t.Errorf("%d layers, %d unfinished", layers, tmp)
	}
}

// TestOtherIDs unpacks anew for another mapping, and Collect removes nothing
// that one needs.
func TestOtherIDs(t *testing.T) {
	s := newStore(t)
	img := add(t, s, newTestImage(t, newLayer(t, "a", "a")), "docker.io/library/x:1")
	other, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	other.ids = layer.IDs{Key: "other", Single: true}
	if _, err := other.Use("c", img); err == nil {
		t.Error("layers of another mapping were used")
	}
	if err := other.Prepare(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if got := read(t, other, img, "/a"); got != "a" {
		t.Errorf("content %q", got)
	}
}
