package hostrt_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestRun(t *testing.T) {
	n := newNode(t)
	out := n.must("echo hello; hostname; id -u; cat /etc/resolv.conf; pwd; echo $HOME; echo $PATH; echo $X; echo $$",
		func(c *rt.ContainerConfig) { c.Envs = []*rt.KeyValue{{Key: "X", Value: []byte("a b")}} })
	want := "hello\npod1\n0\nnameserver 10.96.0.10\nsearch default.svc.cluster.local\noptions ndots:5\n/\n/root\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\na b\n1\n"
	if out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	// What is written below the system's trees is the container's own.
	n.must("touch /usr/studio-test /etc/studio-test /var/lib/x /tmp/x && test -e /usr/studio-test")
	for _, p := range []string{"/usr/studio-test", "/etc/studio-test"} {
		if _, err := os.Stat(p); err == nil {
			t.Errorf("a container wrote %s of this machine", p)
		}
	}
	if n.said("HostImage") == "" {
		t.Error("nothing says that the machine stands in for the image")
	}
}

func TestWhatIsNotHonouredIsSaid(t *testing.T) {
	n := newNode(t)
	reasons := []string{"LimitsNotEnforced", "AppArmorNotApplied", "SELinuxNotApplied"}
	n.pod().run("true").wait()
	for _, reason := range reasons {
		if said := n.said(reason); said != "" {
			t.Errorf("a container that asked for nothing: %s", said)
		}
	}
	n.pod().run("true", func(c *rt.ContainerConfig) {
		c.Linux.Resources = &rt.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: 50000}
		c.Linux.SecurityContext.Apparmor = &rt.SecurityProfile{ProfileType: rt.SecurityProfile_RuntimeDefault}
		c.Linux.SecurityContext.SelinuxOptions = &rt.SELinuxOption{Level: "s0:c1,c2"}
		c.Linux.SecurityContext.Privileged = true
	}).wait()
	if said := n.said("PrivilegedWithoutRoot"); (said != "") != (mode() != "root") {
		t.Errorf("a privileged container, mode %s: %q", mode(), said)
	}
	for _, reason := range reasons {
		// Control groups hold what the shim cannot.
		want := reason != "LimitsNotEnforced" || !hasGroups(t)
		if said := n.said(reason); want != (said != "") {
			t.Errorf("%s: %q", reason, said)
		}
	}
}

func TestDevices(t *testing.T) {
	n := newNode(t)
	got := strings.Fields(n.must("ls /dev; echo x >/dev/null; head -c 4 /dev/urandom | wc -c"))
	want := []string{"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero", "4"}
	if !slices.Equal(got, want) {
		t.Errorf("/dev and a count: %v, want %v", got, want)
	}
}

func TestStreamsAndCodes(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	c := p.run("echo out; echo err >&2; printf partial; exit 7")
	st := c.wait()
	if st.ExitCode != 7 || st.Reason != "Error" || st.FinishedAt < st.StartedAt || st.StartedAt == 0 {
		t.Errorf("status %v", st)
	}
	if c.output("stdout") != "out\npartial" || c.output("stderr") != "err\n" {
		t.Errorf("streams %q and %q", c.output("stdout"), c.output("stderr"))
	}
	// Half a megabyte of lines, then one line that no buffer holds: nothing is lost.
	big := n.must("seq 1 80000; head -c 300000 /dev/zero | tr '\\0' x; echo")
	if !strings.HasPrefix(big, "1\n2\n3\n") || !strings.Contains(big, "\n79999\n80000\nxxx") || strings.Count(big, "x") != 300000 {
		t.Error("output was lost or changed")
	}
	killed := p.run("sh -c 'kill -TERM $$'; exit $?", func(c *rt.ContainerConfig) { c.Metadata.Name, c.LogPath = "killed", "killed/0.log" })
	if st := killed.wait(); st.ExitCode != 143 {
		t.Errorf("a child that SIGTERM ended: %v", st)
	}
}

func TestCannotStart(t *testing.T) {
	n := newNode(t)
	file := filepath.Join(n.dir(), "volumes", "notes")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		command []string
		change  func(*rt.ContainerConfig)
		code    int32
		says    string
	}{
		"no such command":   {[]string{"no-such-command"}, nil, 127, `"no-such-command": executable file not found in $PATH (/usr/local/sbin:`},
		"no such path":      {[]string{"/opt/none/run"}, nil, 127, `"/opt/none/run": no such file in the container`},
		"not executable":    {[]string{"/mnt/notes"}, func(c *rt.ContainerConfig) { c.Mounts = []*rt.Mount{{ContainerPath: "/mnt/notes", HostPath: file}} }, 126, "permission denied: make the file executable"},
		"a folder":          {[]string{"/usr"}, nil, 126, `"/usr"`},
		"no such directory": {[]string{"true"}, func(c *rt.ContainerConfig) { c.WorkingDir = "/dev/null/x" }, 128, `working directory "/dev/null/x"`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := n.pod().create("", func(c *rt.ContainerConfig) {
				c.Command = tc.command
				if tc.change != nil {
					tc.change(c)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.start(); err == nil {
				t.Error("it started")
			}
			st := c.status()
			if st.State != rt.ContainerState_CONTAINER_EXITED || st.ExitCode != tc.code || !strings.Contains(st.Message, tc.says) {
				t.Errorf("ended %v with %d, reason %q: %s", st.State, st.ExitCode, st.Reason, st.Message)
			}
			if !slices.Contains([]string{"ContainerCannotRun", "StartError"}, st.Reason) {
				t.Errorf("reason %q", st.Reason)
			}
		})
	}
}

func TestRefusedAtCreation(t *testing.T) {
	n := newNode(t)
	for name, tc := range map[string]struct {
		change func(*rt.ContainerConfig)
		says   string
	}{
		"no command":   {func(c *rt.ContainerConfig) { c.Command = nil }, "set command in the pod"},
		"unknown user": {func(c *rt.ContainerConfig) { c.Linux.SecurityContext.RunAsUsername = "nobody-knows" }, `"nobody-knows", whom this machine does not know`},
		"hostPath":     {func(c *rt.ContainerConfig) { c.Mounts = []*rt.Mount{{ContainerPath: "/x", HostPath: "/boot"}} }, "not allowed in this test"},
		"image volume": {func(c *rt.ContainerConfig) {
			c.Mounts = []*rt.Mount{{ContainerPath: "/x", Image: &rt.ImageSpec{Image: "host:docker.io/library/models:1", UserSpecifiedImage: "models:1"}}}
		}, "image volume models:1 at /x: it needs the real image"},
		"root volume": {func(c *rt.ContainerConfig) { c.Mounts = []*rt.Mount{{ContainerPath: "/", HostPath: "/usr"}} }, "cannot be mounted on /"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := n.pod().create("true", tc.change)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestUsersAndRights(t *testing.T) {
	n := newNode(t)
	const show = "id -u; id -g; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; echo $HOME; touch $HOME/x && echo home"
	as := func(uid int64, change func(*rt.LinuxContainerSecurityContext)) func(*rt.ContainerConfig) {
		return func(c *rt.ContainerConfig) {
			sec := c.Linux.SecurityContext
			sec.RunAsUser, sec.RunAsGroup = &rt.Int64Value{Value: uid}, &rt.Int64Value{Value: uid}
			change(sec)
		}
	}
	out := n.must(show, as(0, func(sec *rt.LinuxContainerSecurityContext) {
		sec.NoNewPrivs = true
		sec.Capabilities = &rt.Capability{AddCapabilities: []string{"NET_ADMIN", "MKNOD"}, DropCapabilities: []string{"ALL"}}
	}))
	if want := "0\n0\nCapEff:\t0000000000001000\nCapBnd:\t0000000000001000\nNoNewPrivs:\t1\n/root\nhome\n"; out != want {
		t.Errorf("as root: %q, want %q", out, want)
	}
	// The same as with other runtimes, but for CAP_MKNOD (bit 27).
	out = n.must(show)
	if want := "0\n0\nCapEff:\t00000000a00425fb\nCapBnd:\t00000000a00425fb\nNoNewPrivs:\t0\n/root\nhome\n"; out != want {
		t.Errorf("the default: %q, want %q", out, want)
	}
	c, err := n.pod().create(show, as(1234, func(*rt.LinuxContainerSecurityContext) {}))
	if mode() == "rootless" {
		if err == nil || !strings.Contains(err.Error(), "user 1234, who does not exist on this node") || !strings.Contains(err.Error(), "uidmap") {
			t.Errorf("a user that is not mapped: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	if st := c.wait(); st.ExitCode != 0 || !strings.HasPrefix(c.output("stdout"), "1234\n1234\nCapEff:\t0000000000000000\n") || !strings.HasSuffix(c.output("stdout"), "/home/user\nhome\n") {
		t.Errorf("as 1234: %v %q %q", st, c.output("stdout"), c.output("stderr"))
	}
}
