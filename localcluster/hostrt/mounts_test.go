package hostrt_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// volume makes a folder of the node that a container may mount at /v.
func (n *node) volume(name string, change ...func(*rt.Mount)) (dir string, with func(*rt.ContainerConfig)) {
	n.t.Helper()
	dir = filepath.Join(n.dir(), "volumes", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	m := &rt.Mount{HostPath: dir, ContainerPath: "/v"}
	for _, f := range change {
		f(m)
	}
	return dir, func(c *rt.ContainerConfig) { c.Mounts = append(c.Mounts, m) }
}

// tmpfs mounts a file system with the file "from" until the test's end.
func tmpfs(t *testing.T, at string) {
	t.Helper()
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("t", at, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(at, "from"), []byte("node"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func privileged(c *rt.ContainerConfig) {
	sec := c.Linux.SecurityContext
	sec.Privileged, sec.MaskedPaths, sec.ReadonlyPaths = true, nil, nil
}

// TestMountPropagation: who sees a mount that is made while the container runs,
// by the node or by the container.
func TestMountPropagation(t *testing.T) {
	n := newNode(t)
	for _, tt := range []struct {
		propagation        rt.MountPropagation
		fromNode, fromHere bool
	}{
		{rt.MountPropagation_PROPAGATION_PRIVATE, false, false},
		{rt.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, true, false},
		{rt.MountPropagation_PROPAGATION_BIDIRECTIONAL, true, true},
	} {
		t.Run(tt.propagation.String(), func(t *testing.T) {
			dir, with := n.volume(tt.propagation.String(), func(m *rt.Mount) { m.Propagation = tt.propagation })
			if err := os.MkdirAll(filepath.Join(dir, "own"), 0o755); err != nil {
				t.Fatal(err)
			}
			c := n.pod().run("mount -t tmpfs t /v/own && echo x >/v/own/mine && echo up; while ! [ -e /tmp/go ]; do sleep 0.02; done; cat /v/node/from; grep -c /v/ /proc/self/mounts; umount /v/own", with, privileged)
			c.waitOutput("up")
			_, err := os.Stat(filepath.Join(dir, "own", "mine"))
			if seen := err == nil; seen != tt.fromHere {
				t.Errorf("the node sees the container's mount: %v (%v)", seen, err)
			}
			tmpfs(t, filepath.Join(dir, "node"))
			c.exec("touch", "/tmp/go")
			st := c.wait()
			if seen := strings.HasPrefix(c.output("stdout"), "up\nnode"); seen != tt.fromNode {
				t.Errorf("the container sees the node's mount: %v, %q %q", seen, c.output("stdout"), c.output("stderr"))
			}
			if st.ExitCode != 0 {
				t.Errorf("ended with %d: %s", st.ExitCode, c.output("stderr"))
			}
			mounts, err := os.ReadFile("/proc/self/mounts")
			if err != nil || strings.Contains(string(mounts), dir+"/own") {
				t.Errorf("what the container has mounted and unmounted is left (%v)", err)
			}
		})
	}
}

func TestReadOnlyMounts(t *testing.T) {
	n := newNode(t)
	const try = "touch /v/x 2>/dev/null && echo top; touch /v/below/x 2>/dev/null && echo below; touch /x 2>/dev/null && echo root; echo end"
	for name, tt := range map[string]struct {
		mount    func(*rt.Mount)
		readOnly bool
		want     string
	}{
		"writable":       {func(*rt.Mount) {}, false, "top\nbelow\nroot\nend\n"},
		"read-only root": {func(*rt.Mount) {}, true, "top\nbelow\nend\n"},
		"read-only":      {func(m *rt.Mount) { m.Readonly = true }, false, "below\nroot\nend\n"},
		"recursively":    {func(m *rt.Mount) { m.Readonly, m.RecursiveReadOnly = true, true }, false, "root\nend\n"},
	} {
		dir, with := n.volume(name, tt.mount)
		tmpfs(t, filepath.Join(dir, "below"))
		got := n.must(try, with, secured(func(sec *rt.LinuxContainerSecurityContext) { sec.ReadonlyRootfs = tt.readOnly }))
		if got != tt.want {
			t.Errorf("%s: could write %q, want %q", name, got, tt.want)
		}
	}
}

// TestSharedMemory: /dev/shm and System V's objects are the pod's, or the
// node's with hostIPC.
func TestSharedMemory(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	first := p.run("echo x >/dev/shm/pods && ipcmk -Q >/dev/null && ipcs -q | grep -c ^0x")
	first.wait()
	second := p.run("cat /dev/shm/pods; ipcs -q | grep -c ^0x; stat -f -c %T /dev/shm", func(c *rt.ContainerConfig) { c.Metadata.Name, c.LogPath = "second", "second/0.log" })
	second.wait()
	if got := first.output("stdout") + second.output("stdout"); got != "1\nx\n1\ntmpfs\n" {
		t.Errorf("two containers of a pod: %q", got)
	}
	if got := n.must("ls /dev/shm; ipcs -q | grep -c ^0x || true"); got != "0\n" {
		t.Errorf("another pod: %q", got)
	}
	host := n.pod(func(p *rt.PodSandboxConfig) {
		p.Linux.SecurityContext.NamespaceOptions.Ipc = rt.NamespaceMode_NODE
	}).run("readlink /proc/self/ns/ipc; stat -c %d /dev/shm", func(c *rt.ContainerConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Ipc = rt.NamespaceMode_NODE
	})
	host.wait()
	ns, err := os.Readlink("/proc/self/ns/ipc")
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/dev/shm", &st); err != nil {
		t.Fatal(err)
	}
	if got, want := host.output("stdout"), ns+"\n"+strconv.FormatUint(st.Dev, 10)+"\n"; got != want {
		t.Errorf("hostIPC: %q, want %q", got, want)
	}
}
