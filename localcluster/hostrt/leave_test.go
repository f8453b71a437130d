package hostrt_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/projects"
)

func TestFilesOutsideVolumes(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	c := p.run("mkdir -p /data && echo weights >/data/model.pt && echo x >/opt/more && echo y >/tmp/gone")
	if st := c.wait(); st.ExitCode != 0 {
		t.Fatalf("%v: %s", st, c.output("stderr"))
	}
	if _, err := n.rt.RemoveContainer(context.Background(), &rt.RemoveContainerRequest{ContainerId: c.id}); err != nil {
		t.Fatal(err)
	}
	said := n.said("FilesOutsideVolumes")
	if !strings.Contains(said, "/data/model.pt") || !strings.Contains(said, "/opt/more") || strings.Contains(said, "/tmp/gone") {
		t.Errorf("said %q", said)
	}
	found, err := filepath.Glob(filepath.Join(n.cfg.KeptDir, "default_pod1", "main-0*", "data", "model.pt"))
	if err != nil || len(found) != 1 {
		t.Fatalf("kept %v, %v", found, err)
	}
	if raw, _ := os.ReadFile(found[0]); string(raw) != "weights\n" {
		t.Errorf("kept %q", raw)
	}
	big := n.pod().run("head -c 2000000 /dev/zero >/opt/big")
	big.wait()
	if _, err := n.rt.RemoveContainer(context.Background(), &rt.RemoveContainerRequest{ContainerId: big.id}); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(n.cfg.KeptDir, "*", "*", "opt", "big")); len(found) != 0 {
		t.Errorf("more than the budget is kept: %v", found)
	}
}

func TestFiftyAtOnceLeaveNothing(t *testing.T) {
	n := newNode(t)
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			p, err := n.tryPod()
			if err != nil {
				t.Error(err)
				return
			}
			c, err := p.create("echo 4718 >/opt/x; sleep 60", func(c *rt.ContainerConfig) { c.Command = append(c.Command, "4718") })
			if err == nil {
				err = c.start()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if marked(t, "4718") == 0 {
		t.Error("none of the fifty runs")
	}
	n.removeAll()
	if got := marked(t, "4718"); got != 0 {
		t.Errorf("%d processes are left", got)
	}
	if got := marked(t, "studio-shim\x00"); got != 0 {
		t.Errorf("%d shims are left", got)
	}
	// Links go in the background.
	within(t, "the links are gone", func() bool {
		links, err := netlink.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Type() == "veth" })
	})
	after, _ := os.ReadFile("/proc/self/mountinfo")
	if a, b := len(lines(string(before))), len(lines(string(after))); a != b {
		t.Errorf("%d mounts before, %d after", a, b)
	}
	within(t, "the folders are gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(n.cfg.StateDir, "*", "*"))
		return len(left) == 0
	})
}

func TestProject(t *testing.T) {
	n := newNode(t)
	dir, env := filepath.Join(n.dir(), "project"), filepath.Join(n.dir(), "env")
	home := n.cfg.HomeDir("p1")
	for _, d := range []string{dir, filepath.Join(env, "bin"), home, filepath.Join(n.dir(), "secret")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(env, "bin", "tool"), []byte("#!/bin/sh\necho tool\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.cfg.Project = func(string) (*projects.Project, error) {
		return &projects.Project{ID: "p1", Name: "p", Dir: dir, Mounts: []projects.Mount{{Path: env, ReadOnly: true}}, PathPrepend: []string{filepath.Join(env, "bin")}, Env: map[string]string{"FROM": "project"}}, nil
	}
	n.start()
	c := n.pod(func(p *rt.PodSandboxConfig) { p.Annotations = map[string]string{projects.Annotation: "p1"} }).
		run("pwd; echo $HOME $FROM; tool; echo kept >~/out.pkl; echo made >made; touch " + env + "/bin/x 2>/dev/null || echo read-only; ls " + n.dir())
	if st := c.wait(); st.ExitCode != 0 {
		t.Fatalf("%v: %s", st, c.output("stderr"))
	}
	if want := dir + "\n" + projects.HomeInPod + " project\ntool\nread-only\nenv\nproject\n"; c.output("stdout") != want {
		t.Errorf("printed %q, want %q", c.output("stdout"), want)
	}
	for _, f := range []string{filepath.Join(home, "out.pkl"), filepath.Join(dir, "made")} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}

// TestHidden: a pod sees neither the node's files outside the system's trees
// nor other pods' processes, by whatever path.
func TestHidden(t *testing.T) {
	n := newNode(t)
	secret := filepath.Join(n.dir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(n.dir(), "volumes", "link")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(n.dir(), link); err != nil {
		t.Fatal(err)
	}
	other := n.pod().run("echo up; echo mine >/tmp/mine; sleep 4719")
	other.waitOutput("up")
	out := n.must("for p in /proc/*; do for r in root cwd; do ls $p/$r" + secret + " $p/$r/../../../.." + secret + " $p/$r/tmp/mine; done; done 2>/dev/null; ls " + secret + " 2>/dev/null; cat /proc/*/cmdline | tr '\\0' ' ' | grep -c 'sleep 4719' | head -1; ls -d /proc/[0-9]* | wc -l")
	got := lines(out)
	// The shell, ls and wc, and no more.
	if len(got) != 2 || got[0] != "1" && got[0] != "0" || !slices.Contains([]string{"2", "3"}, got[1]) {
		t.Errorf("a pod sees %q", out)
	}
	_, err := n.pod().create("true", func(c *rt.ContainerConfig) { c.Mounts = []*rt.Mount{{ContainerPath: "/x", HostPath: link}} })
	if err == nil || !strings.Contains(err.Error(), "not allowed in this test") {
		t.Errorf("a link out of the allowed folders: %v", err)
	}
}
