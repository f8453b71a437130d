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
