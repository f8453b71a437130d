package holder

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/holder/client"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
)

// TestAsPlainUser runs the tests named TestHolder again as a new user.
func TestAsPlainUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a user")
	}
	const name = "studio-holder-test"
	exec.Command("userdel", "-r", name).Run()
	if out, err := exec.Command("useradd", "-m", name).CombinedOutput(); err != nil {
		t.Fatalf("making a user: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("userdel", "-r", name).Run() })
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	raw, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(u.HomeDir, "holder.test")
	if err := os.WriteFile(program, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	// With subordinate ids where their helpers are installed, and without.
	for _, path := range []string{"/usr/sbin:/usr/bin:/sbin:/bin", "/nowhere"} {
		cmd := exec.Command(program, "-test.run=^TestHolder|^TestProbe", "-test.v")
		cmd.Dir = "/"
		cmd.Env = []string{"HOME=" + u.HomeDir, "USER=" + name, "PATH=" + path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		out, err := cmd.CombinedOutput()
		t.Logf("PATH=%s\n%s", path, out)
		if err != nil || !strings.Contains(string(out), "--- PASS: TestHolderRoot") {
			t.Fatalf("as %s: %v", name, err)
		}
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	if err := namespaces.Probe(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Fatalf("left: %v %v", left, err)
	}
}

const secretText = "nobody-reads-this"

// TestHolderRoot: what the node half sees, and above all what it does not.
func TestHolderRoot(t *testing.T) {
	f := startHolder(t)
	f.startNode()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(home, "studio-test-secret")
	if err := os.WriteFile(secret, []byte(secretText), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(secret) })
	if err := os.WriteFile(filepath.Join(f.dir.PKI(), "ca.key"), []byte(secretText), 0o600); err != nil {
		t.Fatal(err)
	}
	d := f.dir.String()
	for script, want := range map[string]string{
		"id -u":               "0\n",
		"hostname":            "studio\n",
		"cat " + secret:       "No such file",
		"ls -A " + d:          "network.json\nnode\nrun\nvolumes\n",
		"ls -A " + d + "/run": "",
		"ls " + d + "/pki":    "No such file",
		"echo x > /usr/x":     "Read-only file system",
		"echo x > /etc/x":     "Read-only file system",
		"echo x > " + d + "/volumes/x && cat " + d + "/volumes/x": "x\n",
		"echo x > /tmp/x && rm /tmp/x && echo ok":                 "ok\n",
		"echo x > /dev/null && head -c1 /dev/zero | wc -c":        "1\n",
		"cat /proc/1/comm":                                                      "sleep\n",
		"ls /var/lib/kubelet":                                                   "device-plugins\n",
		"cat /etc/resolv.conf | head -1":                                        "nameserver 192.0.2.53\n",
		"ip -4 -o addr show lo | grep -c 192.0.2.1/32":                          "1\n",
		"ls /sys/class/net | tr '\\n' ' '":                                      "lo studio-up0 studio-up1 ",
		"test -d /sys/fs/cgroup && ls -d /run/studio/bin/*.test | head -1":      "/run/studio/bin/holder.test\n",
		"ls /mnt /media /srv /boot 2>&1 | grep -c 'No such'":                    "4\n",
		"mkdir -p /tmp/l /tmp/m && mount -t tmpfs none /tmp/m && umount /tmp/m": "",
	} {
		got := f.shell(script)
		if got != want && (want == "" || strings.HasSuffix(want, "\n") || want[0] == 'l' || !strings.Contains(got, want)) {
			t.Errorf("%s:\n got %q\nwant %q", script, got, want)
		}
	}
	// No process that the node sees has the host's root.
	for _, file := range []string{secret, d + "/pki/ca.key"} {
		got := f.shell("ls -d /proc/1/root/usr; cat /proc/*/root" + file)
		if !strings.HasPrefix(got, "/proc/1/root/usr\n") || strings.Contains(got, secretText) {
			t.Errorf("%s by way of other processes: %q", file, got)
		}
	}
	if got := f.shell("(sleep 0.02 &); sleep 0.1; grep -l 'State:.Z' /proc/[0-9]*/status"); strings.Contains(got, "/proc/") {
		t.Errorf("orphans stay as zombies: %q", got)
	}
	info, err := os.Stat(f.dir.HolderSocket())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("holder's socket: %v %v", info, err)
	}
}

func TestHolderSysctlsArePrivate(t *testing.T) {
	if !namespaces.CapableRoot() {
		t.Skip("without real root the kernel refuses the writes")
	}
	f := startHolder(t)
	f.startNode()
	before, err := os.ReadFile("/proc/sys/kernel/panic")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.shell("echo 4711 > /proc/sys/kernel/panic && cat /proc/sys/kernel/panic"); got != "4711\n" {
		t.Errorf("inside: %q", got)
	}
	after, err := os.ReadFile("/proc/sys/kernel/panic")
	if err != nil || string(after) != string(before) {
		t.Errorf("outside: %q, was %q, %v", after, before, err)
	}
}

func TestHolderAllow(t *testing.T) {
	f := startHolder(t)
	f.startNode()
	base := t.TempDir()
	project, prefix := filepath.Join(base, "env", "project"), filepath.Join(base, "env")
	if err := os.MkdirAll(project, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := f.shell("ls " + project); !strings.Contains(got, "No such file") {
		t.Fatalf("seen before it is allowed: %q", got)
	}
	allow := func(path string, readOnly bool) error {
		return f.client.Allow(t.Context(), client.Allow{Path: path, ReadOnly: readOnly})
	}
	if err := allow(project, false); err != nil {
		t.Fatal(err)
	}
	if got := f.shell("echo x > " + project + "/x"); got != "" {
		t.Errorf("writing to the project: %q", got)
	}
	// The prefix above, mounted later, must not make the project read-only.
	if err := allow(prefix, true); err != nil {
		t.Fatal(err)
	}
	if got := f.shell("cat " + project + "/x && echo y > " + project + "/x"); got != "x\n" {
		t.Errorf("the project below a later prefix: %q", got)
	}
	if got := f.shell("echo y > " + prefix + "/y"); !strings.Contains(got, "Read-only") {
		t.Errorf("writing to a read-only prefix: %q", got)
	}
	// A folder that took the place of the old one is shown.
	if err := os.RemoveAll(project); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(project, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(project, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := allow(project, false); err != nil {
		t.Fatal(err)
	}
	if got := f.shell("ls " + project); got != "new\n" {
		t.Errorf("a new folder in place of the old: %q", got)
	}
	home, _ := os.UserHomeDir()
	for _, bad := range []string{"/", home, f.dir.String(), filepath.Dir(f.dir.String()), f.dir.PKI(), "relative", filepath.Join(base, "missing")} {
		if err := allow(bad, true); err == nil {
			t.Errorf("%s was allowed", bad)
		}
	}
	if err := allow("/usr/bin", true); err != nil {
		t.Errorf("what is seen anyway: %v", err)
	}
}

// TestHolderKeepsNode: a killed node half is started again in the same
// namespaces; a stopped one is not.
func TestHolderKeepsNode(t *testing.T) {
	f := startHolder(t)
	f.startNode()
	f.shell("mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && touch /tmp/m/kept")
	killed := time.Now()
	f.shell("setsid sleep 1000 >/dev/null 2>&1 & kill -9 $PPID")
	f.await(func(e localcluster.Event) bool {
		return e.Phase == "node" && e.State == localcluster.Done && e.Time.After(killed)
	})
	if got := f.shell("ls /tmp/m"); got != "kept\n" {
		t.Errorf("mounts after a restart: %q", got)
	}
	s, err := f.client.Status(t.Context())
	if err != nil || s.Node.Restarts != 1 || s.Node.State != "running" || !s.Pods || s.PID != f.pid {
		t.Fatalf("status %+v, %v", s, err)
	}
	if err := f.client.StopNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err = f.client.Status(t.Context())
	if err != nil || s.Node.State != "stopped" || !s.Pods {
		t.Fatalf("status %+v, %v", s, err)
	}
	if err := f.client.Shutdown(t.Context(), client.Shutdown{GraceSeconds: 7}); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(filepath.Join(f.dir.Node(), "drained")); err != nil || string(raw) != "7" {
		t.Errorf("drained: %q %v", raw, err)
	}
	f.nothingLeft()
}

// nothingLeft looks for processes and mounts that name the data directory.
func (f *fixture) nothingLeft() {
	f.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(procs) == 0 {
		f.Fatal("no processes seen:", err)
	}
	for _, p := range procs {
		if raw, err := os.ReadFile(p); err == nil && strings.Contains(string(raw), f.dir.String()) {
			f.Errorf("left: process %s", filepath.Dir(p))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), f.dir.String()) {
		f.Errorf("left: mounts %v", err)
	}
	if _, err := f.client.Status(f.Context()); err != client.ErrNotRunning {
		f.Errorf("holder answers: %v", err)
	}
}

// TestHolderSecond: one holder a data directory.
func TestHolderSecond(t *testing.T) {
	f := startHolder(t)
	if _, err := Spawn(t.Context(), Options{Dir: f.dir}); err == nil || !strings.Contains(err.Error(), "another one holds") {
		t.Fatalf("a second holder: %v", err)
	}
	if _, err := f.client.Status(t.Context()); err != nil {
		t.Fatalf("the first after it: %v", err)
	}
}

// TestHolderJoins: the two ways between the API server and the node.
func TestHolderJoins(t *testing.T) {
	f := startHolder(t)
	f.startNode()
	api, err := net.Listen("unix", f.dir.APISocket())
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	go echo(api)
	if got := f.shell(`bash -c 'exec 3<>/dev/tcp/192.0.2.1/6443; echo hello >&3; head -1 <&3'`); got != "hello\n" {
		t.Errorf("node to API: %q", got)
	}
	// Into the node: its only listener is the API's address, so back out again.
	c, err := net.Dial("unix", f.dir.NodeSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "CONNECT 192.0.2.1:6443 HTTP/1.1\r\nHost: 192.0.2.1:6443\r\n\r\nearly\n")
	c.(*net.UnixConn).CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200") || !strings.HasSuffix(string(got), "early\n") {
		t.Errorf("API to node: %q %v", got, err)
	}
}

func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

// TestHolderShowsNewPrograms: a folder of programs that was replaced is seen by
// the next node half.
func TestHolderShowsNewPrograms(t *testing.T) {
	programs := filepath.Join(t.TempDir(), "bin")
	install := func() {
		if err := os.RemoveAll(programs); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(programs, 0o755); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(programs, "holder.test"), raw, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install()
	f := startHolderOf(t, filepath.Join(programs, "holder.test"))
	f.startNode()
	install()
	if err := f.client.StopNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(programs, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f.startNode()
	if got := f.shell("ls " + BinDir); got != "holder.test\nnew\n" {
		t.Errorf("programs: %q", got)
	}
}
