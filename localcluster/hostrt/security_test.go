package hostrt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// secured changes a container's security context.
func secured(change func(*rt.LinuxContainerSecurityContext)) func(*rt.ContainerConfig) {
	return func(c *rt.ContainerConfig) { change(c.Linux.SecurityContext) }
}

// seccomp is a filter by its type and, for a file, its path.
func seccomp(kind rt.SecurityProfile_ProfileType, path string) func(*rt.ContainerConfig) {
	return secured(func(sec *rt.LinuxContainerSecurityContext) {
		sec.Seccomp = &rt.SecurityProfile{ProfileType: kind, LocalhostRef: path}
	})
}

func TestSeccomp(t *testing.T) {
	n := newNode(t)
	// A new user namespace is what the default profile keeps from those without CAP_SYS_ADMIN.
	const try = "grep ^Seccomp: /proc/self/status; unshare -U true 2>/dev/null && echo unshared; mkdir /tmp/d 2>/dev/null && echo made; true"
	no, yes := "Seccomp:\t0\nunshared\nmade\n", "Seccomp:\t2\nmade\n"
	profile := filepath.Join(n.dir(), "no-mkdir.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		change     []func(*rt.ContainerConfig)
	}{
		{"nothing asked", no, nil},
		{"Unconfined", no, []func(*rt.ContainerConfig){seccomp(rt.SecurityProfile_Unconfined, "")}},
		{"RuntimeDefault", yes, []func(*rt.ContainerConfig){seccomp(rt.SecurityProfile_RuntimeDefault, "")}},
		{"RuntimeDefault with no_new_privs", yes, []func(*rt.ContainerConfig){seccomp(rt.SecurityProfile_RuntimeDefault, ""), secured(func(sec *rt.LinuxContainerSecurityContext) { sec.NoNewPrivs = true })}},
		{"privileged", no, []func(*rt.ContainerConfig){seccomp(rt.SecurityProfile_RuntimeDefault, ""), secured(func(sec *rt.LinuxContainerSecurityContext) { sec.Privileged = true })}},
		{"Localhost", "Seccomp:\t2\nunshared\n", []func(*rt.ContainerConfig){seccomp(rt.SecurityProfile_Localhost, profile)}},
	} {
		if got := n.must(try, tt.change...); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}

	c := n.pod().run("echo up; sleep 4731", seccomp(rt.SecurityProfile_RuntimeDefault, ""))
	c.waitOutput("up")
	res, err := n.rt.ExecSync(context.Background(), &rt.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"sh", "-c", try}, Timeout: 5})
	if err != nil || string(res.Stdout) != yes {
		t.Errorf("exec: %v, %v", res, err)
	}

	missing := filepath.Join(n.dir(), "missing.json")
	if _, err := n.pod().create("true", seccomp(rt.SecurityProfile_Localhost, missing)); err == nil || !strings.Contains(err.Error(), "missing.json is not on this node: put the file into "+n.dir()) {
		t.Errorf("a profile that is missing: %v", err)
	}
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_NONSENSE"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err = n.pod().create("true", seccomp(rt.SecurityProfile_Localhost, profile))
	if err == nil {
		err = c.start()
	}
	if err == nil || !strings.Contains(err.Error(), "seccomp profile no-mkdir.json: string SCMP_ACT_NONSENSE is not a valid action") {
		t.Errorf("a profile that makes no sense: %v", err)
	}
}

// BenchmarkSeccomp is what the default filter costs a container's start.
func BenchmarkSeccomp(b *testing.B) {
	for _, kind := range []rt.SecurityProfile_ProfileType{rt.SecurityProfile_Unconfined, rt.SecurityProfile_RuntimeDefault} {
		b.Run(kind.String(), func(b *testing.B) {
			n := newNode(b)
			p := n.pod()
			for range b.N {
				b.StopTimer()
				c, err := p.create("true", seccomp(kind, ""))
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := c.start(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				c.wait()
				if _, err := n.rt.RemoveContainer(context.Background(), &rt.RemoveContainerRequest{ContainerId: c.id}); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func TestGroups(t *testing.T) {
	n := newNode(t)
	groups := filepath.Join(n.dir(), "group")
	if err := os.WriteFile(groups, []byte("root:x:0:\nown:x:50000:root\nnot-here:x:4000000:root\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(groups, "/etc/group", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount("/etc/group", 0); err != nil {
			t.Error(err)
		}
	}()
	for policy, want := range map[rt.SupplementalGroupsPolicy][]int64{
		rt.SupplementalGroupsPolicy_Merge:  {0, 50000, 60000},
		rt.SupplementalGroupsPolicy_Strict: {0, 60000},
	} {
		if mode() == "root" && policy == rt.SupplementalGroupsPolicy_Merge {
			want = []int64{0, 50000, 4000000, 60000}
		}
		printed := strings.Trim(fmt.Sprint(slices.Sorted(slices.Values(want))), "[]") + "\n"
		if mode() == "rootless" {
			want, printed = nil, "" // the kernel forbids to set groups, what was there stays
		}
		c := n.pod().run("id -G", secured(func(sec *rt.LinuxContainerSecurityContext) {
			sec.SupplementalGroups, sec.SupplementalGroupsPolicy = []int64{60000}, policy
		}))
		st := c.wait()
		if got := c.output("stdout"); printed != "" && got != printed {
			t.Errorf("%v: groups %q, want %q", policy, got, printed)
		}
		if u := st.GetUser().GetLinux(); u.GetUid() != 0 || u.GetGid() != 0 || !slices.Equal(u.GetSupplementalGroups(), want) {
			t.Errorf("%v: said to run as %v", policy, u)
		}
		n.stop()
		n.start()
		if after := c.status().GetUser(); !proto.Equal(after, st.GetUser()) {
			t.Errorf("%v: after a restart said to run as %v", policy, after)
		}
	}
	if said := n.said("UnmappedGroup"); (mode() == "rootless") != strings.Contains(said, "group 60000 does not exist on this node") {
		t.Errorf("said %q", said)
	}
}

// TestNamespaces: whose processes a container sees, and that it can look into
// the container that it is to debug.
func TestNamespaces(t *testing.T) {
	n := newNode(t)
	named := func(name string, mode rt.NamespaceMode, target string) func(*rt.ContainerConfig) {
		return func(c *rt.ContainerConfig) {
			c.Metadata.Name, c.LogPath = name, name+"/0.log"
			c.Linux.SecurityContext.NamespaceOptions = &rt.NamespaceOption{Pid: mode, TargetId: target}
			c.Linux.SecurityContext.Capabilities = &rt.Capability{AddCapabilities: []string{"SYS_PTRACE"}}
		}
	}
	const see = "tr '\\0' ' ' </proc/1/cmdline; echo; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 473[2]' | sort | uniq -c | tr -s ' '; cat /proc/1/root/tmp/mine 2>/dev/null"
	p := n.pod()
	app := p.run("echo here >/tmp/mine; echo up; sleep 4732; true", named("app", rt.NamespaceMode_CONTAINER, ""))
	app.waitOutput("up")
	debug := p.run(see, named("debug", rt.NamespaceMode_TARGET, app.id))
	debug.wait()
	if got, want := debug.output("stdout"), "/bin/sh -c echo here >/tmp/mine; echo up; sleep 4732; true \n 2 sleep 4732\nhere\n"; got != want {
		t.Errorf("a container that debugs another sees %q, want %q (%s)", got, want, debug.output("stderr"))
	}
	other := p.run(see, named("other", rt.NamespaceMode_CONTAINER, ""))
	other.wait()
	if got := other.output("stdout"); strings.Contains(got, "sleep 4732") {
		t.Errorf("a container of its own sees %q", got)
	}
	shared := n.pod()
	first := shared.run("echo up; sleep 4732; true", named("first", rt.NamespaceMode_POD, ""))
	first.waitOutput("up")
	second := shared.run(see+"; pkill -f '^sleep 4732'", named("second", rt.NamespaceMode_POD, ""))
	second.wait()
	if got := second.output("stdout"); !strings.Contains(got, " pause \n") || !strings.Contains(got, " sleep 4732\n") {
		t.Errorf("a container that shares the pod's processes sees %q (%s)", got, second.output("stderr"))
	}
	if st := first.wait(); st.ExitCode != 0 {
		t.Errorf("after a signal of the pod's other container: %v", st)
	}
}

func TestSysctls(t *testing.T) {
	n := newNode(t)
	sysctl := func(name, value string) func(*rt.PodSandboxConfig) {
		return func(p *rt.PodSandboxConfig) { p.Linux.Sysctls = map[string]string{name: value} }
	}
	for name, value := range map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "80"} {
		c := n.pod(sysctl(name, value)).run("cat /proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		if c.wait(); c.output("stdout") != value+"\n" {
			t.Errorf("%s is %q, want %s", name, c.output("stdout"), value)
		}
	}
	if _, err := n.tryPod(sysctl("kernel.no_such_thing", "1")); err == nil || !strings.Contains(err.Error(), "kernel.no_such_thing") {
		t.Errorf("a setting that does not exist: %v", err)
	}
}

func TestRuntimeHandler(t *testing.T) {
	n := newNode(t)
	res, err := n.rt.Status(context.Background(), &rt.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range append(res.GetRuntimeHandlers(), &rt.RuntimeHandler{Name: "gvisor"}) {
		cfg := n.pod().cfg
		cfg.Metadata.Uid += "-again"
		_, err := n.rt.RunPodSandbox(context.Background(), &rt.RunPodSandboxRequest{Config: cfg, RuntimeHandler: h.Name})
		if known := h.Features != nil; (err == nil) != known {
			t.Errorf("handler %q: %v", h.Name, err)
		}
	}
}
