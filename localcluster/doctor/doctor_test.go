package doctor

import (
	"context"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
)

// The checks try namespaces in a copy of this program.
func TestMain(m *testing.M) {
	namespaces.Hook()
	os.Exit(m.Run())
}

// box is a machine whose files are those given, below a folder.
func box(t *testing.T, files map[string]string) machine {
	t.Helper()
	m := machine{root: t.TempDir(), dir: datadir.Dir(filepath.Join(t.TempDir(), "data")), user: user.User{Username: "ada"}, uid: 1000}
	for name, text := range files {
		path := m.path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestChecksOfFiles(t *testing.T) {
	for name, c := range map[string]struct {
		look  func(context.Context, machine) verdict
		files map[string]string
		want  Severity
		says  string
		cure  string
	}{
		"overlay":            {overlay, map[string]string{"/proc/filesystems": "nodev\tproc\nnodev\toverlay\n"}, OK, "", ""},
		"no overlay":         {overlay, map[string]string{"/proc/filesystems": "nodev\tproc\n"}, Warning, "read-only", "sudo modprobe overlay"},
		"no nft":             {nftables, map[string]string{"/usr/sbin/nftables": "x"}, Error, "nft is not installed", "apt-get install nftables"},
		"cgroup v1":          {cgroups, nil, Info, "version 1 is root's", "systemd.unified_cgroup_hierarchy"},
		"cgroup no systemd":  {cgroups, map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpu"}, Info, "no systemd runs", "enable-linger"},
		"cgroup delegated":   {cgroups, map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpu", "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers": "cpu io memory pids\n"}, OK, "systemd delegates", ""},
		"cgroup without cpu": {cgroups, map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpu", "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers": "memory pids\n"}, Info, "cpu not delegated", "user@1000.service"},
		"inotify":            {inotify, map[string]string{"/proc/sys/fs/inotify/max_user_watches": "65536\n", "/proc/sys/fs/inotify/max_user_instances": "128\n"}, OK, "", ""},
		"little inotify":     {inotify, map[string]string{"/proc/sys/fs/inotify/max_user_watches": "8192\n", "/proc/sys/fs/inotify/max_user_instances": "128\n"}, Warning, "8192 watches", "fs.inotify.max_user_watches=524288"},
		"memory":             {memory, map[string]string{"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4000000 kB\n"}, OK, "4.1 GB", ""},
		"little memory":      {memory, map[string]string{"/proc/meminfo": "MemAvailable:    400000 kB\n"}, Warning, "only 0.4 GB", "ps aux"},
		"no python":          {python, nil, Warning, "/usr/bin/python3", "apt-get install python3"},
		"linger":             {linger, map[string]string{"/run/systemd/system": "x", "/etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=no\nKillUserProcesses=yes\n"}, Warning, "log out", "loginctl enable-linger ada"},
		"linger on":          {linger, map[string]string{"/run/systemd/system": "x", "/var/lib/systemd/linger/ada": "", "/etc/systemd/logind.conf": "KillUserProcesses=yes\n"}, OK, "", ""},
		"no kill":            {linger, map[string]string{"/run/systemd/system": "x", "/etc/systemd/logind.conf": "#KillUserProcesses=yes\n"}, OK, "", ""},
		"ranges":             {func(_ context.Context, m machine) verdict { return ranges(m, "less") }, map[string]string{"/etc/subuid": "ada:1:2\n", "/etc/subgid": "1000:1:2\n"}, OK, "", ""},
		"no range":           {func(_ context.Context, m machine) verdict { return ranges(m, "less") }, map[string]string{"/etc/subuid": "eve:1:2\n"}, Warning, "/etc/subuid has no line for ada", "usermod --add-subuids"},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.look(t.Context(), box(t, c.files))
			if v.severity != c.want || !strings.Contains(v.cause, c.says) || !strings.Contains(v.cure, c.cure) {
				t.Errorf("got %+v", v)
			}
			if v.severity == Warning && v.cure == "" {
				t.Error("a warning without a cure")
			}
		})
	}
}

func TestNFTablesMustBeAProgram(t *testing.T) {
	m := box(t, map[string]string{"/usr/sbin/nft": "x"})
	if v := nftables(t.Context(), m); v.severity != Error {
		t.Errorf("a file that is no program: %+v", v)
	}
	if err := os.Chmod(m.path("/usr/sbin/nft"), 0o755); err != nil {
		t.Fatal(err)
	}
	if v := nftables(t.Context(), m); v.severity != OK || v.cause != "/usr/sbin/nft" {
		t.Errorf("a program: %+v", v)
	}
}

func TestSpace(t *testing.T) {
	for name, c := range map[string]struct {
		free, files, left uint64
		want              Severity
	}{
		"plenty": {20 << 30, 1e6, 5e5, OK}, "little": {1 << 30, 1e6, 5e5, Warning}, "none": {50 << 20, 1e6, 5e5, Error},
		"no inodes": {20 << 30, 1e6, 10, Error}, "no fixed number of inodes": {20 << 30, 0, 0, OK},
	} {
		if v := space("/d", c.free, c.files, c.left); v.severity != c.want {
			t.Errorf("%s: got %+v", name, v)
		}
	}
}

func TestDataDirectory(t *testing.T) {
	m := box(t, nil)
	m.uid = os.Getuid()
	if v := dataDir(t.Context(), m); v.severity != OK || !strings.Contains(v.cause, "will be made") {
		t.Errorf("before the first start: %+v", v)
	}
	if err := os.Mkdir(m.dir.String(), 0o755); err != nil {
		t.Fatal(err)
	}
	if v := dataDir(t.Context(), m); v.severity != Warning || !strings.HasPrefix(v.cure, "chmod 700") {
		t.Errorf("readable by others: %+v", v)
	}
	m.uid++
	if v := dataDir(t.Context(), m); v.severity != Error {
		t.Errorf("of another user: %+v", v)
	}
	if err := os.Remove(m.dir.String()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.dir.String(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := dataDir(t.Context(), m); v.severity != Error || !strings.Contains(v.cause, "is a file") {
		t.Errorf("a file: %+v", v)
	}
}

func TestLockAndPortAreTaken(t *testing.T) {
	m := box(t, nil)
	if v := lock(t.Context(), m); v.severity != OK {
		t.Errorf("nothing there: %+v", v)
	}
	if err := os.Mkdir(m.dir.String(), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(m.dir.String(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("4711\n")
	if v := lock(t.Context(), m); v.severity != OK {
		t.Errorf("free: %+v", v)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if v := lock(t.Context(), m); v.severity != Error || !strings.Contains(v.cause, "process 4711") {
		t.Errorf("held: %+v", v)
	}
	if v := port(t.Context(), m); v.severity != OK {
		t.Errorf("no port chosen: %+v", v)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.dir.KeepAPIPort(l.Addr().(*net.TCPAddr).Port); err != nil {
		t.Fatal(err)
	}
	if v := port(t.Context(), m); v.severity != Error || !strings.Contains(v.cause, "taken by another program") || v.cure == "" {
		t.Errorf("taken: %+v", v)
	}
	l.Close()
	if v := port(t.Context(), m); v.severity != OK {
		t.Errorf("free: %+v", v)
	}
}

func TestDatabase(t *testing.T) {
	head := make([]byte, 4096)
	copy(head, "SQLite format 3\x00\x10\x00")
	for name, c := range map[string]struct {
		files map[string][]byte
		want  Severity
	}{
		"none":      {nil, OK},
		"whole":     {map[string][]byte{"state.db": head}, OK},
		"empty":     {map[string][]byte{"state.db": {}}, OK},
		"cut":       {map[string][]byte{"state.db": head[:3000]}, Error},
		"short":     {map[string][]byte{"state.db": head[:30]}, Error},
		"other":     {map[string][]byte{"state.db": make([]byte, 4096)}, Error},
		"kept away": {map[string][]byte{"state.db.damaged-20260101T000000.000Z": head, "state.db.damaged-20260101T000000.000Z-wal": {}}, Info},
	} {
		m := box(t, nil)
		if err := os.MkdirAll(m.dir.DB(), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range c.files {
			if err := os.WriteFile(filepath.Join(m.dir.DB(), file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		v := database(t.Context(), m)
		if v.severity != c.want || (v.severity != OK && v.cure == "") || strings.Contains(v.cause, "-wal") {
			t.Errorf("%s: got %+v", name, v)
		}
	}
}

func TestProgramsBesideThisOne(t *testing.T) {
	dir := t.TempDir()
	if v := programsIn(dir); v.severity != Error || v.cure != "make build" {
		t.Errorf("got %+v", v)
	}
	for _, name := range parts {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if v := programsIn(dir); v.severity != OK {
		t.Errorf("got %+v", v)
	}
}

// Every check answers on this machine, each under its own code.
func TestAllChecksAnswer(t *testing.T) {
	codes := map[string]bool{}
	for _, f := range Run(t.Context(), datadir.Dir(filepath.Join(t.TempDir(), "data")), All()) {
		if f.Code == "" || f.Title == "" || f.Severity == "" || codes[f.Code] {
			t.Errorf("got %+v", f)
		}
		if (f.Severity == Error || f.Severity == Warning) && (f.Cause == "" || f.Cure == "") {
			t.Errorf("%s needs a cause and a cure: %+v", f.Code, f)
		}
		codes[f.Code] = true
	}
	if len(codes) != len(All()) || len(Fatal()) == 0 || len(Fatal()) == len(All()) {
		t.Errorf("%d codes, %d fatal of %d checks", len(codes), len(Fatal()), len(All()))
	}
}

func TestWorst(t *testing.T) {
	if got := Worst([]Finding{{Severity: OK}, {Severity: Error}, {Severity: Warning}}); got != Error {
		t.Errorf("got %s", got)
	}
	if got := Worst(nil); got != OK {
		t.Errorf("got %s", got)
	}
}
