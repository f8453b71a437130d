package hostrt_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sync/errgroup"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/images"
)

// file is an entry of a layer under test.
type file struct {
	tar.Header
	body string
}

func text(name, body string) file {
	return file{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body}
}

func owned(f file, uid, gid int) file {
	f.Uid, f.Gid = uid, gid
	return f
}

func probe(t testing.TB) file {
	t.Helper()
	raw, err := os.ReadFile(os.Getenv(probeEnv))
	if err != nil {
		t.Fatal(err)
	}
	return file{tar.Header{Name: "probe", Typeflag: tar.TypeReg, Mode: 0o755}, string(raw)}
}

// build makes an image of layers.
func build(t testing.TB, config v1.Config, layers ...[]file) v1.Image {
	t.Helper()
	img, err := mutate.Config(empty.Image, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, files := range layers {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, f := range files {
			f.Size = int64(len(f.body))
			if err := w.WriteHeader(&f.Header); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, f.body); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// imported puts an image into the node's store.
func (n *node) imported(name string, img v1.Image) *images.Image {
	n.t.Helper()
	added, err := n.cfg.Images.Add(context.Background(), img, images.Adding{Names: []string{name}, Pinned: true})
	if err != nil {
		n.t.Fatal(err)
	}
	return added
}

// of makes a container of an image, as the kubelet asks for it: by the ID that
// ImageStatus gave, with the image's user.
func (n *node) of(image string, args ...string) func(*rt.ContainerConfig) {
	n.t.Helper()
	res, err := n.im.ImageStatus(context.Background(), &rt.ImageStatusRequest{Image: &rt.ImageSpec{Image: image}})
	if err != nil || res.Image == nil {
		n.t.Fatalf("status of image %s: %v, %v", image, res, err)
	}
	return func(c *rt.ContainerConfig) {
		c.Image = &rt.ImageSpec{Image: res.Image.Id, UserSpecifiedImage: image}
		c.Command, c.Args = nil, args
		sec := c.Linux.SecurityContext
		if res.Image.Uid != nil {
			sec.RunAsUser = &rt.Int64Value{Value: res.Image.Uid.Value}
		} else {
			sec.RunAsUsername = res.Image.Username
		}
	}
}

// runs runs a container of an image to its end and returns what it printed.
func (n *node) runs(image string, args []string, change ...func(*rt.ContainerConfig)) string {
	n.t.Helper()
	return n.must("", append([]func(*rt.ContainerConfig){n.of(image, args...)}, change...)...)
}

const passwd = "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/work:/bin/sh\n"
const group = "root:x:0:\nworker:x:1000:\nvideo:x:44:root,worker\n"

func TestImageRuns(t *testing.T) {
	n := newNode(t)
	n.imported("docker.io/library/tiny:latest", build(t, v1.Config{
		Entrypoint: []string{"/probe"}, Cmd: []string{"args", "from", "the", "image"}, Env: []string{"PATH=/bin:/", "A=image", "B=image"}, WorkingDir: "/work",
	}, []file{probe(t), text("etc/passwd", passwd), text("etc/group", group), text("data/old", "old"), text("data/kept", "kept")},
		[]file{text("data/.wh.old", ""), text("data/new", "new")}))

	if got := n.runs("tiny", nil); got != "args from the image\n" {
		t.Errorf("entrypoint and arguments of the image: %q", got)
	}
	if got := n.runs("tiny", []string{"args", "own"}); got != "args own\n" {
		t.Errorf("own arguments: %q", got)
	}
	if got := n.runs("tiny", nil, func(c *rt.ContainerConfig) { c.Command = []string{"probe", "args"} }); got != "args\n" {
		t.Errorf("an own command must drop the image's arguments: %q", got)
	}
	got := n.runs("tiny", []string{"env", "PATH", "A", "B", "HOME"}, func(c *rt.ContainerConfig) { c.Envs = []*rt.KeyValue{{Key: "B", Value: []byte("pod")}} })
	if want := "PATH=/bin:/\nA=image\nB=pod\nHOME=/root\n"; got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
	if got := n.runs("tiny", []string{"who"}); !strings.HasPrefix(got, "0 0 ") || !strings.HasSuffix(got, " /work\n") {
		t.Errorf("user and folder %q", got)
	}
	if got := n.runs("tiny", []string{"ls", "/*"}); got != "/data /dev /etc /probe /proc /sys /work\n" {
		t.Errorf("the root is not the image's: %q", got)
	}
	if got := n.runs("tiny", []string{"ls", "/data/*"}); got != "/data/kept /data/new\n" {
		t.Errorf("layers: %q", got)
	}
	n.runs("tiny", []string{"write", "/data/kept", "changed"})
	if got := n.runs("tiny", []string{"cat", "/data/kept"}); got != "kept" {
		t.Errorf("one container's change is seen by another: %q", got)
	}
	if said := n.said("HostImage"); said != "" {
		t.Errorf("the machine is said to stand in: %s", said)
	}
	if said := n.said("FilesOutsideVolumes"); said != "" {
		t.Errorf("what a container of an image wrote is kept: %s", said)
	}
}

func TestImageUsers(t *testing.T) {
	n := newNode(t)
	layer := []file{probe(t), text("etc/passwd", passwd), text("etc/group", group)}
	n.imported("docker.io/library/named:1", build(t, v1.Config{Entrypoint: []string{"/probe"}, User: "worker"}, layer))
	n.imported("docker.io/library/root:1", build(t, v1.Config{Entrypoint: []string{"/probe"}}, layer))
	n.imported("docker.io/library/stranger:1", build(t, v1.Config{Entrypoint: []string{"/probe"}, User: "stranger"}, layer))

	_, err := n.pod().create("", n.of("stranger:1", "who"))
	if err == nil || !strings.Contains(err.Error(), "stranger") || !strings.Contains(err.Error(), "its image") {
		t.Errorf("a user that the image does not know: %v", err)
	}
	if mode() == "rootless" {
		_, err := n.pod().create("", n.of("named:1", "who"))
		if err == nil || !strings.Contains(err.Error(), "user 1000") || !strings.Contains(err.Error(), "uidmap") {
			t.Errorf("a user that is not mapped: %v", err)
		}
		return
	}
	if got := n.runs("named:1", []string{"who"}); got != "1000 1000 [44 1000] /\n" {
		t.Errorf("the image's user: %q", got)
	}
	if got := n.runs("named:1", []string{"env", "HOME"}); got != "HOME=/work\n" {
		t.Errorf("the image's user's home: %q", got)
	}
	strict := func(c *rt.ContainerConfig) {
		c.Linux.SecurityContext.SupplementalGroupsPolicy = rt.SupplementalGroupsPolicy_Strict
		c.Linux.SecurityContext.SupplementalGroups = []int64{7}
	}
	if got := n.runs("named:1", []string{"who"}, strict); got != "1000 1000 [7 1000] /\n" {
		t.Errorf("groups of the pod alone: %q", got)
	}
	if got := n.runs("root:1", []string{"who"}); got != "0 0 [0 44] /\n" {
		t.Errorf("an image without a user: %q", got)
	}
}

func TestImageOwnersAndModes(t *testing.T) {
	n := newNode(t)
	suid := owned(file{tar.Header{Name: "bin/suid", Typeflag: tar.TypeReg, Mode: 0o4755}, "x"}, 0, 0)
	img := n.imported("docker.io/library/owners:1", build(t, v1.Config{Entrypoint: []string{"/probe"}}, []file{
		probe(t), suid, owned(text("mine", ""), 1000, 44), {tar.Header{Name: "link", Linkname: "mine", Typeflag: tar.TypeSymlink}, ""},
		{tar.Header{Name: "shared", Typeflag: tar.TypeDir, Mode: 0o1777}, ""}, {tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
	}))
	got := lines(n.runs("owners:1", []string{"stat", "/bin/suid", "/mine", "/link", "/shared", "/null"}))
	want := []string{"/bin/suid 104755 0 0", "/mine 100644 1000 44", "/link 120777 0 0", "/shared 41777 0 0"}
	if mode() == "rootless" {
		want[1] = "/mine 100644 0 0"
	}
	if !slices.Equal(got[:4], want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if made := !strings.Contains(got[4], "no such file"); made != (mode() == "root") {
		t.Errorf("a device node: %q", got[4])
	}
	losses, err := n.cfg.Images.Losses(img)
	if err != nil || (losses.Owners == 1) != (mode() == "rootless") || (losses.Devices == 1) != (mode() != "root") {
		t.Errorf("losses %+v, %v", losses, err)
	}
	if said := n.said("ImageOwners"); (said != "") != (mode() == "rootless") {
		t.Errorf("said of owners: %q", said)
	}
	if said := n.said("ImageDevices"); (said != "") != (mode() != "root") {
		t.Errorf("said of devices: %q", said)
	}
}

func TestImageVolumeStaysWritable(t *testing.T) {
	n := newNode(t)
	n.imported("docker.io/library/volume:1", build(t, v1.Config{Entrypoint: []string{"/probe"}, Volumes: map[string]struct{}{"/data": {}, "/var/lib/new": {}}},
		[]file{probe(t), text("data/there", "there")}))
	readOnly := func(c *rt.ContainerConfig) { c.Linux.SecurityContext.ReadonlyRootfs = true }
	if got := n.runs("volume:1", []string{"cat", "/data/there"}, readOnly); got != "there" {
		t.Errorf("the volume's content: %q", got)
	}
	n.runs("volume:1", []string{"write", "/data/x", "x"}, readOnly)
	n.runs("volume:1", []string{"write", "/var/lib/new/x", "x"}, readOnly)
	c := n.pod().run("", n.of("volume:1", "write", "/x", "x"), readOnly)
	if st := c.wait(); st.ExitCode != 1 || !strings.Contains(c.output("stderr"), "read-only") {
		t.Errorf("the root is not read-only: %v %q", st, c.output("stderr"))
	}
}

func TestImageStopSignal(t *testing.T) {
	n := newNode(t)
	n.imported("docker.io/library/stop:1", build(t, v1.Config{Entrypoint: []string{"/probe"}, StopSignal: "SIGUSR1"}, []file{probe(t)}))
	c := n.pod().run("", n.of("stop:1", "signal"))
	c.waitOutput("ready")
	if _, err := n.rt.StopContainer(context.Background(), &rt.StopContainerRequest{ContainerId: c.id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if got := c.output("stdout"); got != "ready\nuser defined signal 1\n" {
		t.Errorf("stopped by %q", got)
	}
}

func TestManyLayers(t *testing.T) {
	n := newNode(t)
	layers := [][]file{{probe(t)}}
	for i := range 120 {
		layers = append(layers, []file{text(fmt.Sprintf("n/%03d", i), ""), text("last", fmt.Sprint(i))})
	}
	n.imported("docker.io/library/many:1", build(t, v1.Config{Entrypoint: []string{"/probe"}}, layers...))
	if got := n.runs("many:1", []string{"cat", "/last"}); got != "119" {
		t.Errorf("the topmost layer does not win: %q", got)
	}
	if got := strings.Fields(n.runs("many:1", []string{"ls", "/n/*"})); len(got) != 120 {
		t.Errorf("%d of 120 layers are seen", len(got))
	}
}

func TestRemovedImageRunsOn(t *testing.T) {
	n := newNode(t)
	img := n.imported("docker.io/library/going:1", build(t, v1.Config{Entrypoint: []string{"/probe"}}, []file{probe(t)}))
	p := n.pod()
	c := p.run("", n.of("going:1", "sleep"))
	if _, err := n.im.RemoveImage(context.Background(), &rt.RemoveImageRequest{Image: &rt.ImageSpec{Image: img.ID}}); err != nil {
		t.Fatal(err)
	}
	// Also for a runtime that starts again under it.
	n.stop()
	n.start()
	res, err := n.rt.ExecSync(context.Background(), &rt.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"/probe", "ls", "/probe"}, Timeout: 10})
	if err != nil || string(res.Stdout) != "/probe\n" {
		t.Errorf("exec in a container whose image is removed: %q, %v", res, err)
	}
	if found, _ := filepath.Glob(filepath.Join(n.dir(), "images", "layers", "*", "*")); len(found) != 1 {
		t.Errorf("layers while a container runs: %v", found)
	}
	if _, err := n.rt.RemovePodSandbox(context.Background(), &rt.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(n.dir(), "images", "layers", "*", "*")); len(found) != 0 {
		t.Errorf("layers that nobody needs stay: %v", found)
	}
}

func TestImageModes(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	n.imported("docker.io/library/here:1", build(t, v1.Config{Entrypoint: []string{"/probe", "args"}}, []file{probe(t)}))
	status := func(image string) *rt.Image {
		res, err := n.im.ImageStatus(ctx, &rt.ImageStatusRequest{Image: &rt.ImageSpec{Image: image}})
		if err != nil {
			t.Fatal(err)
		}
		return res.Image
	}
	for _, tc := range []struct {
		mode            images.Mode
		here, elsewhere string
	}{{images.Auto, "sha256:", "host:docker.io/library/elsewhere:latest"}, {images.OCI, "sha256:", ""}, {images.Host, "host:docker.io/library/here:1", "host:docker.io/library/elsewhere:latest"}} {
		if err := n.cfg.Images.SetMode(tc.mode); err != nil {
			t.Fatal(err)
		}
		if id := status("here:1").GetId(); !strings.HasPrefix(id, tc.here) {
			t.Errorf("%s: the image that is here is %q", tc.mode, id)
		}
		if id := status("elsewhere").GetId(); id != tc.elsewhere {
			t.Errorf("%s: the image that is not here is %q", tc.mode, id)
		}
	}
	if err := n.cfg.Images.SetMode(images.OCI); err != nil {
		t.Fatal(err)
	}
	// As imagePullPolicy Always asks for it: what was imported is the newest.
	res, err := n.im.PullImage(ctx, &rt.PullImageRequest{Image: &rt.ImageSpec{Image: "here:1"}})
	if err != nil || !strings.HasPrefix(res.ImageRef, "sha256:") {
		t.Errorf("pulling an imported image: %v, %v", res, err)
	}
	list, err := n.im.ListImages(ctx, &rt.ListImagesRequest{})
	if err != nil || len(list.Images) != 1 || !list.Images[0].Pinned || !slices.Equal(list.Images[0].RepoTags, []string{"docker.io/library/here:1"}) || list.Images[0].Size < 1<<19 {
		t.Errorf("list %v, %v", list, err)
	}
	fs, err := n.im.ImageFsInfo(ctx, &rt.ImageFsInfoRequest{})
	if err != nil || fs.ImageFilesystems[0].UsedBytes.Value < 1<<20 {
		t.Errorf("space %v, %v", fs, err)
	}
}

// TestPull fetches by the node's own network from a registry that wants a
// password, as imagePullSecrets hand it on.
func TestPull(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	if err := n.cfg.Images.SetMode(images.OCI); err != nil {
		t.Fatal(err)
	}
	keeper := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		keeper.ServeHTTP(w, r)
	}))
	defer server.Close()
	image := strings.TrimPrefix(server.URL, "http://") + "/team/tiny:1"
	push := func(img v1.Image) {
		ref, err := name.ParseReference(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "me", Password: "secret"})); err != nil {
			t.Fatal(err)
		}
	}
	pull := func(auth *rt.AuthConfig) (string, error) {
		res, err := n.im.PullImage(ctx, &rt.PullImageRequest{Image: &rt.ImageSpec{Image: image}, Auth: auth})
		return res.GetImageRef(), err
	}
	push(build(t, v1.Config{Entrypoint: []string{"/probe"}, Env: []string{"V=1"}}, []file{probe(t)}))
	if _, err := pull(nil); err == nil || !strings.Contains(err.Error(), "failed to resolve reference") || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a password: %v", err)
	}
	secret := &rt.AuthConfig{Username: "me", Password: "secret"}
	first, err := pull(secret)
	if err != nil {
		t.Fatal(err)
	}
	if got := n.runs(image, []string{"env", "V"}); got != "V=1\n" {
		t.Errorf("printed %q", got)
	}
	// Several pods may want it at once, and a newer one takes the name.
	push(build(t, v1.Config{Entrypoint: []string{"/probe"}, Env: []string{"V=2"}}, []file{probe(t)}))
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			second, err := pull(secret)
			if err == nil && second == first {
				err = errors.New("the old image was kept")
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if got := n.runs(image, []string{"env", "V"}); got != "V=2\n" {
		t.Errorf("printed %q", got)
	}
	res, err := n.im.ImageStatus(ctx, &rt.ImageStatusRequest{Image: &rt.ImageSpec{Image: image}})
	if err != nil || res.Image.GetPinned() {
		t.Errorf("a pulled image is pinned: %v, %v", res, err)
	}
	// Without a network what is there must do, unless only real images count.
	server.Close()
	if _, err := pull(secret); err == nil {
		t.Error("a registry that is away was not asked")
	}
	if err := n.cfg.Images.SetMode(images.Auto); err != nil {
		t.Fatal(err)
	}
	if id, err := pull(secret); err != nil || id != res.Image.Id {
		t.Errorf("pulled %q, %v", id, err)
	}
}

func TestImageVolumes(t *testing.T) {
	n := newNode(t)
	program := probe(t)
	program.Name = "data/program"
	n.imported("docker.io/library/model:1", build(t, v1.Config{}, []file{text("data/weights", "1"), text("data/old", "old"), program},
		[]file{text("data/weights", "2"), text("data/.wh.old", "")}))
	n.imported("docker.io/library/root:1", build(t, v1.Config{Entrypoint: []string{"/probe"}}, []file{probe(t)}))
	volume := func(at, image, sub string) func(*rt.ContainerConfig) {
		return func(c *rt.ContainerConfig) {
			c.Mounts = append(c.Mounts, &rt.Mount{ContainerPath: at, Image: &rt.ImageSpec{Image: image}, ImageSubPath: sub, Readonly: true})
		}
	}
	// In a container on the machine's own files and in one of an image.
	got := n.must("cat /models/a/weights; echo; ls /models/all/data; touch /models/all/x || echo read-only; /models/a/program args || echo no programs",
		volume("/models/a", "model:1", "data"), volume("/models/all", "model:1", ""))
	if want := "2\nprogram\nweights\nread-only\nno programs\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if got := n.runs("root:1", []string{"cat", "/m/data/weights"}, volume("/m", "model:1", "")); got != "2" {
		t.Errorf("printed %q", got)
	}
	if _, err := n.pod().create("true", volume("/m", "nowhere:1", "")); err == nil || !strings.Contains(err.Error(), "image volume nowhere:1 at /m: it needs the real image") {
		t.Errorf("a volume of an image that is not there: %v", err)
	}
	c, err := n.pod().create("true", volume("/m", "model:1", "../../etc/nothing"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.start(); err == nil || !strings.Contains(err.Error(), "is not in the image") {
		t.Errorf("a part that is not there: %v", err)
	}
	// The volume's layers are held like a root's.
	p := n.pod()
	held := p.run("sleep 60", volume("/m", "model:1", ""))
	if _, err := n.im.RemoveImage(context.Background(), &rt.RemoveImageRequest{Image: &rt.ImageSpec{Image: "model:1"}}); err != nil {
		t.Fatal(err)
	}
	res, err := n.rt.ExecSync(context.Background(), &rt.ExecSyncRequest{ContainerId: held.id, Cmd: []string{"cat", "/m/data/weights"}, Timeout: 10})
	if err != nil || string(res.Stdout) != "2" {
		t.Errorf("a removed image's volume: %q, %v", res, err)
	}
}
