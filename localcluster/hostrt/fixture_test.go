package hostrt_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt"
	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/machine"
	"github.com/mlstudio/studio/localcluster/projects"
)

// node is a running hostrt and a CRI client, as the kubelet is one.
type node struct {
	t    testing.TB
	cfg  hostrt.Config
	rt   rt.RuntimeServiceClient
	im   rt.ImageServiceClient
	srv  *hostrt.Server
	stop func()

	mu     sync.Mutex
	events []hostrt.Event
	n      int
}

func newNode(t testing.TB) *node {
	t.Helper()
	// Not t.TempDir: its names are long, and its removal fails on what is still in the trash.
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	store, err := images.Open(filepath.Join(dir, "images"))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t}
	n.cfg = hostrt.Config{
		StateDir: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "cri.sock"), ShimPath: os.Getenv(shimEnv), PodLogsRoot: filepath.Join(dir, "logs"),
		HolderID: "holder-1", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), GatewayIP: netip.MustParseAddr("10.244.0.1"),
		Project: func(id string) (*projects.Project, error) {
			return nil, fmt.Errorf("project %q: %w", id, projects.ErrUnknown)
		},
		HomeDir: func(id string) string { return filepath.Join(dir, "homes", id) },
		Images:  store,
		Events: func(e hostrt.Event) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.events = append(n.events, e)
		},
		KeptDir: filepath.Join(dir, "kept"), KeptBudget: 1 << 20,
		AllowMount: func(path, _ string) error {
			if strings.HasPrefix(path, dir+"/volumes/") {
				return nil
			}
			return fmt.Errorf("not allowed in this test")
		},
		// One for all tests: making it takes a second.
		FoldersDir: filepath.Join(os.TempDir(), "system-folders"),
		Rootless:   mode() != "root", GroupsDir: groupsDir(),
		Share: machine.Share{Tasks: 2000, PodTasks: 400},
	}
	n.start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.srv.StopAll(ctx, hostrt.Drain{Limit: 10 * time.Millisecond}); err != nil {
			t.Errorf("stopping all: %v", err)
		}
		n.removeAll()
		n.stop()
		if t.Failed() {
			n.dumpShimLogs()
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return n
}

func (n *node) dir() string { return filepath.Dir(n.cfg.StateDir) }

// start starts the server, or starts it again on the same state.
func (n *node) start() {
	n.t.Helper()
	srv, err := hostrt.New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := srv.Serve(ctx)
		if err != nil {
			n.t.Errorf("serve: %v", err)
		}
		done <- err
	}()
	conn, err := grpc.NewClient("unix:"+n.cfg.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		n.t.Fatal(err)
	}
	n.srv, n.rt, n.im = srv, rt.NewRuntimeServiceClient(conn), rt.NewImageServiceClient(conn)
	ask, stopAsking := context.WithTimeout(ctx, 10*time.Second)
	defer stopAsking()
	if _, err := n.rt.Version(ask, &rt.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		n.t.Fatal(err)
	}
	n.stop = func() {
		cancel()
		<-done
		conn.Close()
	}
}

func (n *node) removeAll() {
	pods, err := n.rt.ListPodSandbox(context.Background(), &rt.ListPodSandboxRequest{})
	if err != nil {
		n.t.Error(err)
		return
	}
	for _, p := range pods.Items {
		if _, err := n.rt.RemovePodSandbox(context.Background(), &rt.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			n.t.Error(err)
		}
	}
}

func (n *node) dumpShimLogs() {
	logs, _ := filepath.Glob(filepath.Join(n.cfg.StateDir, "*", "*", "shim.log"))
	for _, l := range logs {
		raw, _ := os.ReadFile(l)
		n.t.Logf("%s:\n%s", l, raw)
	}
}

// said waits for an event of that reason and returns its message.
func (n *node) said(reason string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if e.Reason == reason {
			return e.Message
		}
	}
	return ""
}

// pod is a sandbox under test.
type pod struct {
	n   *node
	id  string
	cfg *rt.PodSandboxConfig
}

func (n *node) pod(change ...func(*rt.PodSandboxConfig)) *pod {
	n.t.Helper()
	p, err := n.tryPod(change...)
	if err != nil {
		n.t.Fatal(err)
	}
	return p
}

func (n *node) tryPod(change ...func(*rt.PodSandboxConfig)) (*pod, error) {
	n.mu.Lock()
	n.n++
	name := fmt.Sprintf("pod%d", n.n)
	n.mu.Unlock()
	cfg := &rt.PodSandboxConfig{
		Metadata: &rt.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name}, Hostname: name,
		LogDirectory: filepath.Join(n.cfg.PodLogsRoot, "default_"+name), Labels: map[string]string{"app": name},
		DnsConfig: &rt.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"default.svc.cluster.local"}, Options: []string{"ndots:5"}},
		Linux:     &rt.LinuxPodSandboxConfig{SecurityContext: &rt.LinuxSandboxSecurityContext{NamespaceOptions: &rt.NamespaceOption{Pid: rt.NamespaceMode_CONTAINER}}},
	}
	for _, f := range change {
		f(cfg)
	}
	res, err := n.rt.RunPodSandbox(context.Background(), &rt.RunPodSandboxRequest{Config: cfg})
	if err != nil {
		return nil, err
	}
	return &pod{n, res.PodSandboxId, cfg}, nil
}

// container is a container under test.
type container struct {
	p   *pod
	id  string
	cfg *rt.ContainerConfig
}

// create makes a container with a shell script.
func (p *pod) create(script string, change ...func(*rt.ContainerConfig)) (*container, error) {
	cfg := &rt.ContainerConfig{
		Metadata: &rt.ContainerMetadata{Name: "main"}, Image: &rt.ImageSpec{Image: "docker.io/library/busybox:latest", UserSpecifiedImage: "busybox"},
		Command: []string{"/bin/sh", "-c", script}, LogPath: "main/0.log",
		Linux: &rt.LinuxContainerConfig{SecurityContext: &rt.LinuxContainerSecurityContext{
			NamespaceOptions: &rt.NamespaceOption{Pid: rt.NamespaceMode_CONTAINER},
			MaskedPaths:      []string{"/proc/kcore", "/proc/keys", "/sys/firmware"}, ReadonlyPaths: []string{"/proc/sys", "/proc/sysrq-trigger"},
		}},
	}
	for _, f := range change {
		f(cfg)
	}
	if err := os.MkdirAll(filepath.Join(p.cfg.LogDirectory, filepath.Dir(cfg.LogPath)), 0o755); err != nil {
		return nil, err
	}
	res, err := p.n.rt.CreateContainer(context.Background(), &rt.CreateContainerRequest{PodSandboxId: p.id, Config: cfg, SandboxConfig: p.cfg})
	if err != nil {
		return nil, err
	}
	return &container{p, res.ContainerId, cfg}, nil
}

// run creates and starts a container.
func (p *pod) run(script string, change ...func(*rt.ContainerConfig)) *container {
	p.n.t.Helper()
	c, err := p.create(script, change...)
	if err != nil {
		p.n.t.Fatal(err)
	}
	if err := c.start(); err != nil {
		p.n.t.Fatal(err)
	}
	return c
}

func (c *container) start() error {
	_, err := c.p.n.rt.StartContainer(context.Background(), &rt.StartContainerRequest{ContainerId: c.id})
	return err
}

// exec runs a command in the container and returns what it printed.
func (c *container) exec(args ...string) string {
	c.p.n.t.Helper()
	res, err := c.p.n.rt.ExecSync(context.Background(), &rt.ExecSyncRequest{ContainerId: c.id, Cmd: args, Timeout: 10})
	if err != nil || res.ExitCode != 0 {
		c.p.n.t.Fatalf("%v: %v, %v", args, res, err)
	}
	return string(res.Stdout)
}

func (c *container) status() *rt.ContainerStatus {
	c.p.n.t.Helper()
	res, err := c.p.n.rt.ContainerStatus(context.Background(), &rt.ContainerStatusRequest{ContainerId: c.id})
	if err != nil {
		c.p.n.t.Fatal(err)
	}
	return res.Status
}

// wait waits for the container's end. It looks again and again, as the tests
// of events watch for themselves.
func (c *container) wait() *rt.ContainerStatus {
	c.p.n.t.Helper()
	return c.waitFor(20 * time.Second)
}

func (c *container) waitFor(patience time.Duration) *rt.ContainerStatus {
	c.p.n.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if st := c.status(); st.State == rt.ContainerState_CONTAINER_EXITED {
			return st
		}
	}
	c.p.n.t.Fatalf("container %s has not ended: %v", c.id, c.status())
	return nil
}

// output is the container's log without its decoration, by stream.
func (c *container) output(stream string) string {
	c.p.n.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.p.cfg.LogDirectory, c.cfg.LogPath))
	if err != nil {
		c.p.n.t.Fatal(err)
	}
	var b strings.Builder
	for _, line := range lines(string(raw)) {
		f := strings.SplitN(line, " ", 4)
		if len(f) != 4 || f[1] != stream {
			continue
		}
		b.WriteString(f[3])
		if f[2] == "F" {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// waitOutput waits until the log has a text.
func (c *container) waitOutput(want string) {
	c.p.n.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(c.output("stdout"), want) {
			return
		}
	}
	c.p.n.t.Fatalf("the log never said %q but %q", want, c.output("stdout"))
}

// must runs a script to its end and returns what it printed.
func (n *node) must(script string, change ...func(*rt.ContainerConfig)) string {
	n.t.Helper()
	c := n.pod().run(script, change...)
	st := c.wait()
	if st.ExitCode != 0 {
		n.t.Fatalf("%q ended with %d (%s %s): %s", script, st.ExitCode, st.Reason, st.Message, c.output("stderr"))
	}
	return c.output("stdout")
}
