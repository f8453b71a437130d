//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
)

// agentImage is an image of nothing but Studio's static in-pod helper, whose
// version its containers print.
func agentImage(t *testing.T, e *engine, change func(*v1.Config)) v1.Image {
	t.Helper()
	raw, err := os.ReadFile(e.bin("studio-agent"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name, body string
		mode       int64
		uid        int
	}{
		{"bin/agent", string(raw), 0o755, 0},
		{"etc/passwd", "root:x:0:0::/:\nworker:x:1000:1000::/work:\n", 0o644, 0},
		{"work/mine", "mine", 0o600, 1000},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: f.mode, Size: int64(len(f.body)), Uid: f.uid, Gid: f.uid}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, f.body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	config := v1.Config{Entrypoint: []string{"/bin/agent"}, Cmd: []string{"version"}, WorkingDir: "/work"}
	if change != nil {
		change(&config)
	}
	img, err := mutate.Config(empty.Image, config)
	if err == nil {
		img, err = mutate.AppendLayers(img, layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestImages is a person's way with real images: before the first start, on an
// engine that runs, and across a start.
func TestImages(t *testing.T) {
	e := newEngine(t)
	folder := tempFolder(t)
	archive := filepath.Join(folder, "images.tar")
	images := map[name.Tag]v1.Image{}
	for n, change := range map[string]func(*v1.Config){"agent:1": nil, "registry.example/team/user:2": func(c *v1.Config) { c.User = "worker" }} {
		tag, err := name.NewTag(n)
		if err != nil {
			t.Fatal(err)
		}
		images[tag] = agentImage(t, e, change)
	}
	if err := tarball.MultiWriteToFile(archive, images); err != nil {
		t.Fatal(err)
	}
	imported := e.studio("image", "import", archive)
	for _, n := range []string{"docker.io/library/agent:1\n", "registry.example/team/user:2\n"} {
		if !strings.Contains(imported.stdout, n) {
			t.Errorf("%s does not name %q", imported, n)
		}
	}
	e.up()

	version := strings.TrimSpace(e.output(image("plain", "agent:1")))
	if version == "" || !strings.Contains(e.studio("version").stdout, strings.Fields(version)[len(strings.Fields(version))-1]) {
		t.Errorf("the image's program printed %q", version)
	}
	always := image("always", "agent:1")
	always.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	if got := strings.TrimSpace(e.output(always)); got != version {
		t.Errorf("with imagePullPolicy Always it printed %q, want %q", got, version)
	}
	status := e.await("plain", "ended", ended).Status.ContainerStatuses[0]
	if status.Image != "docker.io/library/agent:1" || !strings.HasPrefix(status.ImageID, "docker.io/library/agent@sha256:") {
		t.Errorf("the pod says that its image is %s, %s", status.Image, status.ImageID)
	}

	t.Run("runAsNonRoot looks at the image", func(t *testing.T) {
		e := e.in(t)
		p := image("nonroot", "agent:1")
		yes := true
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes}
		e.start(p)
		last := e.await("nonroot", "refused", stuck)
		if text := describe(last); !strings.Contains(text, "runAsNonRoot") {
			t.Errorf("an image that runs as root: %s", text)
		}
	})
	t.Run("only real images", func(t *testing.T) {
		e := e.in(t)
		e.studio("up", "--images=oci")
		missing := image("missing", "nowhere.example/none:1", "true")
		missing.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		e.start(missing)
		if text := describe(e.await("missing", "waiting", stuck)); !strings.Contains(text, "ErrImageNeverPull") {
			t.Errorf("an image that is not there: %s", text)
		}
		e.studio("stop")
		e.up()
		if got := strings.TrimSpace(e.output(image("after", "agent:1"))); got != version {
			t.Errorf("after a start it printed %q", got)
		}
		again := image("again", "nowhere.example/none:1", "true")
		again.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		e.start(again)
		if text := describe(e.await("again", "waiting", stuck)); !strings.Contains(text, "ErrImageNeverPull") {
			t.Errorf("after a start the choice is forgotten: %s", text)
		}
		e.studio("up", "--images=auto")
		if got := e.output(shell("stands-in", "echo the machine")); got != "the machine\n" {
			t.Errorf("printed %q", got)
		}
	})
	t.Run("removed", func(t *testing.T) {
		e := e.in(t)
		e.studio("image", "rm", "agent:1")
		var left []struct {
			Names []string `json:"names"`
			Disk  int64    `json:"disk"`
		}
		if err := json.Unmarshal([]byte(e.studio("image", "ls", "-o", "json").stdout), &left); err != nil {
			t.Fatal(err)
		}
		if len(left) != 1 || fmt.Sprint(left[0].Names) != "[registry.example/team/user:2]" || left[0].Disk < 1<<20 {
			t.Errorf("left %+v", left)
		}
		if r := e.try("image", "rm", "agent:1"); r.code != 1 || !strings.Contains(r.stderr, "no such image") || !strings.Contains(r.stderr, "fix:") {
			t.Errorf("removing it again: %s", r)
		}
	})
}

// image is a pod of an image, with its own arguments or the image's.
func image(pod, image string, args ...string) *corev1.Pod {
	p := shell(pod, "")
	p.Spec.Containers[0].Image = image
	p.Spec.Containers[0].Command, p.Spec.Containers[0].Args = nil, args
	return p
}
