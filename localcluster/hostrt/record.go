package hostrt

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
	"github.com/mlstudio/studio/localcluster/images/layer"
)

// Files in a sandbox's and a container's folder.
const (
	podFile       = "pod.json"
	containerFile = "container.json"
	containersDir = "containers"
)

// podRecord is a sandbox on disk.
type podRecord struct {
	ID       string `json:"id"`
	HolderID string `json:"holderID"`
	// Config is the kubelet's request in the form it came over the wire.
	Config    []byte     `json:"config"`
	CreatedAt int64      `json:"createdAt"`
	IP        netip.Addr `json:"ip,omitzero"`
	Stopped   bool       `json:"stopped,omitempty"`
	ShimPID   int        `json:"shimPID,omitempty"`
	ShimStart uint64     `json:"shimStart,omitempty"`
}

// containerRecord is a container on disk; beside it lies the shim's state.
type containerRecord struct {
	ID        string `json:"id"`
	Config    []byte `json:"config"`
	CreatedAt int64  `json:"createdAt"`
	User      *user  `json:"user,omitempty"`
	// Image is nil where the machine stands in.
	Image *realImage `json:"image,omitempty"`
	// Volumes are the layers of image volumes, by their paths in the container.
	Volumes map[string]layer.Stack `json:"volumes,omitempty"`
}

// pod is a sandbox. Its fields but the first four are guarded by the server's lock.
type pod struct {
	id      string
	dir     string
	cfg     *rt.PodSandboxConfig
	created int64

	record podRecord
	ready  bool
	// limits are what the pod's control group has, as far as containers decide it.
	limits shimapi.Limits
	// stopping is set by the first StopPodSandbox: repeated events end.
	stopping bool
	// lost is closed when the shim is gone, however it ended.
	lost chan struct{}
}

// container is a container. Its fields but the first six are guarded by the server's lock.
type container struct {
	id      string
	pod     *pod
	dir     string
	cfg     *rt.ContainerConfig
	image   *realImage
	volumes map[string]layer.Stack
	created int64
	// user is set when the container is created.
	user *user

	starting bool
	removing bool
	state    shimapi.State
	// ended is closed when the state is Exited.
	ended chan struct{}
}

func newID() string {
	b := make([]byte, 16)
	// crypto/rand never fails on Linux since Go 1.24.
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func (s *Server) newPod(rec podRecord, cfg *rt.PodSandboxConfig) *pod {
	return &pod{id: rec.ID, dir: filepath.Join(s.podsDir(), rec.ID), cfg: cfg, created: rec.CreatedAt, record: rec, lost: make(chan struct{})}
}

func newContainer(p *pod, rec containerRecord, cfg *rt.ContainerConfig) *container {
	return &container{
		id: rec.ID, pod: p, dir: filepath.Join(p.dir, containersDir, rec.ID), cfg: cfg, image: rec.Image, volumes: rec.Volumes, created: rec.CreatedAt, user: rec.User,
		state: shimapi.State{ID: rec.ID}, ended: make(chan struct{}),
	}
}

func (c *container) client() shimapi.Client { return shimapi.Client{Dir: c.pod.dir} }

// client of the pod's shim.
func (p *pod) client() shimapi.Client { return shimapi.Client{Dir: p.dir} }

func encode(m proto.Message) ([]byte, error) {
	raw, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("storing the kubelet's request: %w", err)
	}
	return raw, nil
}

// writeRecord stores a record so that a reader sees the old or the new one. It
// does not wait for the disk: after a power cut every pod is of another boot.
func writeRecord(dir, name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("storing a pod's record: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("storing a pod's record: %w", err)
	}
	return nil
}

func readRecord(dir, name string, v any) error {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("reading %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}
