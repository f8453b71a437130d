package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func randomImage(t *testing.T, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(2000, layers)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func found(t *testing.T, path string) ([]Found, error) {
	t.Helper()
	a, err := Open(t.Context(), path, t.TempDir())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { a.Close() })
	return a.Images(t.Context())
}

// same checks that an image came through whole: each byte of it against its digests.
func same(t *testing.T, got, want v1.Image) {
	t.Helper()
	a, err1 := got.ConfigName()
	b, err2 := want.ConfigName()
	if err1 != nil || err2 != nil || a != b {
		t.Errorf("image %v (%v), want %v (%v)", a, err1, b, err2)
	}
	c, err := got.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := got.Layers()
	if err != nil || len(layers) != len(c.RootFS.DiffIDs) {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	for i, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		for want, open := range map[v1.Hash]func() (io.ReadCloser, error){digest: l.Compressed, c.RootFS.DiffIDs[i]: l.Uncompressed} {
			r, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if sum, _, err := v1.SHA256(r); err != nil || sum != want {
				t.Errorf("layer %d is %s (%v), want %s", i, sum, err, want)
			}
		}
	}
}

func TestDockerArchive(t *testing.T) {
	one, two := randomImage(t, 3), randomImage(t, 1)
	path := filepath.Join(t.TempDir(), "images.tar")
	tags := map[name.Tag]v1.Image{}
	for n, img := range map[string]v1.Image{"one:1": one, "also-one:1": one, "registry.example/two:2": two} {
		tag, err := name.NewTag(n)
		if err != nil {
			t.Fatal(err)
		}
		tags[tag] = img
	}
	if err := tarball.MultiWriteToFile(path, tags); err != nil {
		t.Fatal(err)
	}
	plain, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(plain)
	z.Close()
	squeezed := filepath.Join(t.TempDir(), "images.tar.gz")
	if err := os.WriteFile(squeezed, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, squeezed} {
		all, err := found(t, path)
		if err != nil || len(all) != 2 {
			t.Fatalf("%s: %d images, %v", path, len(all), err)
		}
		for _, f := range all {
			slices.Sort(f.Names)
			if slices.Equal(f.Names, []string{"registry.example/two:2"}) {
				same(t, f.Image, two)
				continue
			}
			if len(f.Names) != 2 {
				t.Errorf("names %v", f.Names)
			}
			same(t, f.Image, one)
		}
	}
	a, err := Spool(t.Context(), bytes.NewReader(b.Bytes()), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if all, err := a.Images(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("from a stream: %d images, %v", len(all), err)
	}
}

// TestOldDockerArchive reads layers that are not compressed and stand for each
// other by links, as docker's classic store writes them.
func TestOldDockerArchive(t *testing.T) {
	img := randomImage(t, 2)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var raw [2][]byte
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		if raw[i], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "old.tar")
	write(t, path, []entry{
		{"abc.json", string(config), ""}, {"l0/layer.tar", string(raw[0]), ""}, {"x/y.tar", string(raw[1]), ""}, {"l1/layer.tar", "", "../x/y.tar"},
		{"manifest.json", `[{"Config":"abc.json","RepoTags":null,"Layers":["l0/layer.tar","l1/layer.tar"]}]`, ""},
	})
	all, err := found(t, path)
	if err != nil || len(all) != 1 || len(all[0].Names) != 0 {
		t.Fatalf("%v, %v", all, err)
	}
	same(t, all[0].Image, img)
}

type entry struct{ name, body, link string }

func write(t *testing.T, path string, entries []entry) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Size: int64(len(e.body)), Mode: 0o644}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.body)
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestLayout(t *testing.T) {
	own, other := randomImage(t, 2), randomImage(t, 1)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: own, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{"io.containerd.image.name": "docker.io/library/many:1"})); err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(own, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "quay.io/same:2"})); err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(t.TempDir(), "layout.tar")
	pack(t, dir, packed)
	for _, path := range []string{dir, packed} {
		all, err := found(t, path)
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %v, %v", path, all, err)
		}
		if want := []string{"docker.io/library/many:1", "quay.io/same:2"}; !slices.Equal(all[0].Names, want) {
			t.Errorf("names %v, want %v", all[0].Names, want)
		}
		same(t, all[0].Image, own)
	}
	digest, err := own.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.RemoveDescriptors(match.Digests(digest)); err != nil {
		t.Fatal(err)
	}
}

func pack(t *testing.T, dir, to string) {
	t.Helper()
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestForeignPlatform(t *testing.T) {
	img, err := mutate.ConfigFile(randomImage(t, 1), &v1.ConfigFile{OS: "linux", Architecture: "s390x", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	if _, err := found(t, dir); err == nil || !strings.Contains(err.Error(), "linux/s390x") || !strings.Contains(err.Error(), runtime.GOARCH) {
		t.Errorf("an image for another machine: %v", err)
	}
}

func TestNotAnArchive(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct{ body, says string }{
		"empty":    {"", "holds no images"},
		"text":     {strings.Repeat("this is no archive\n", 100), "no tar archive"},
		"xz":       {"\xfd7zXZ\x00 and more", "xz -dc"},
		"cut gzip": {"\x1f\x8b\x08\x00", "EOF"},
	} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(tc.body), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := found(t, path); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %q", name, err, tc.says)
		}
	}
	path := filepath.Join(dir, "other.tar")
	write(t, path, []entry{{"README", "hello", ""}, {"loop", "", "loop"}})
	if _, err := found(t, path); !errors.Is(err, ErrNoImages) {
		t.Errorf("an archive of something else: %v", err)
	}
	write(t, path, []entry{{"manifest.json", "", "manifest.json"}})
	if _, err := found(t, path); err == nil {
		t.Error("a link to itself was read")
	}
}

func TestRootfs(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "etc"), 0o755), os.WriteFile(filepath.Join(dir, "etc", "name"), []byte("mine"), 0o600), os.Symlink("/etc/name", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(t.TempDir(), "root.tar")
	write(t, packed, []entry{{"etc/name", "mine", ""}, {"link", "", "/etc/name"}})
	settings := Settings{Command: []string{"/bin/sh"}, Env: []string{"A=b"}, WorkingDir: "/etc", User: "1:2"}
	for _, from := range []string{dir, packed} {
		a, img, err := Rootfs(t.Context(), from, t.TempDir(), settings)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		same(t, img, img)
		c, err := img.ConfigFile()
		if err != nil || !slices.Equal(c.Config.Cmd, settings.Command) || !slices.Equal(c.Config.Env, []string{defaultPath, "A=b"}) || c.Config.User != "1:2" || c.Config.WorkingDir != "/etc" {
			t.Errorf("%s: configuration %+v, %v", from, c.Config, err)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%s: layers %v, %v", from, layers, err)
		}
		r, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err != nil {
				break
			}
			body, _ := io.ReadAll(tr)
			seen[strings.Trim(h.Name, "./")] = string(body) + h.Linkname
		}
		if seen["etc/name"] != "mine" || seen["link"] != "/etc/name" {
			t.Errorf("%s: files %v", from, seen)
		}
	}
	for says, s := range map[string]Settings{"absolute path": {WorkingDir: "etc"}, "NAME=VALUE": {Env: []string{"A"}}} {
		if _, _, err := Rootfs(t.Context(), packed, t.TempDir(), s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
