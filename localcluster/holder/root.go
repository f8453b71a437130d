package holder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/cgroup"
	"github.com/mlstudio/studio/localcluster/datadir"
)

// systemTrees are what the node sees of the host, read-only. No folder that
// holds a user's own files is among them.
var systemTrees = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix"}

// BinDir is where the folder of the running program appears in the node.
const BinDir = "/run/studio/bin"

// root builds the file system that the node half and, through it, the pods see.
type root struct {
	dir datadir.Dir
	// home of the user; no tree that holds it is shown.
	home string
	// bin is the folder of the running program.
	bin string
	// capable: no user namespace lies around the node.
	capable bool
	// nameserver is the address of the network stack's DNS.
	nameserver string
	// group of the pods, made on the host's side.
	group cgroup.Group
	// mountProc mounts the proc of the pods' PID namespace on a folder.
	mountProc func(string) error
}

// check refuses a data directory inside what every pod sees.
func (r root) check() error {
	for _, t := range systemTrees {
		if within(r.dir.String(), t) {
			return fmt.Errorf("data directory %s lies in %s, which pods see; set %s to a folder elsewhere", r.dir, t, datadir.Env)
		}
	}
	return nil
}

// base is the root's own folder. It lies on disk: what a pod writes by hostPath
// outside of the mounts goes there and stays.
func (r root) base() string { return filepath.Join(r.dir.String(), "root") }

// enter builds the root in the mount namespace of the calling thread, which
// must be its own, and makes it the thread's root.
func (r root) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separating the node's mounts: %w", err)
	}
	base := r.base()
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(base, base, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting the node's root: %w", err)
	}
	for _, step := range []func(string) error{r.system, r.kernel, r.devices, r.writable, r.groups, r.data, r.names} {
		if err := step(base); err != nil {
			return fmt.Errorf("building the node's root: %w", err)
		}
	}
	if r.capable {
		if err := privateSysctls(base); err != nil {
			return fmt.Errorf("building the node's root: %w", err)
		}
	}
	return pivot(base)
}

// pivot makes base the root of the calling thread and detaches the old one.
func pivot(base string) error {
	if err := unix.Chdir(base); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing to the node's root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the host's root: %w", err)
	}
	return unix.Chdir("/")
}

// within tells whether path is folder or lies below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

func (r root) system(base string) error {
	for _, t := range systemTrees {
		st, err := os.Lstat(t)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if st.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(t)
			if err != nil {
				return err
			}
			if err := symlink(target, base+t); err != nil {
				return err
			}
			continue
		}
		if r.home != "" && within(r.home, t) {
			continue // An account of a service: its home stays unseen, and with it this tree.
		}
		if err := bind(t, base+t, true); err != nil {
			return err
		}
	}
	return nil
}

// kernel mounts the proc of the PID namespace and the sys of the network
// namespace, with the host's cgroups in it.
func (r root) kernel(base string) error {
	if err := os.MkdirAll(base+"/proc", 0o755); err != nil {
		return err
	}
	if err := r.mountProc(base + "/proc"); err != nil {
		return err
	}
	if err := mount("sysfs", base+"/sys", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, ""); err != nil {
		// Refused where the host's is partly hidden: then the host's is shown.
		return bind("/sys", base+"/sys", !r.capable)
	}
	if _, err := os.Stat("/sys/fs/cgroup"); err != nil {
		return nil
	}
	return bind("/sys/fs/cgroup", base+"/sys/fs/cgroup", false)
}

// writable mounts what the node half may write to.
func (r root) writable(base string) error {
	for _, d := range []string{"lib/kubelet/device-plugins", "log/pods", "log/containers", "cache", "spool"} {
		if err := os.MkdirAll(filepath.Join(r.dir.NodeVar(), d), 0o755); err != nil {
			return err
		}
	}
	tmp := filepath.Join(r.dir.NodeVar(), "tmp")
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := bind(r.dir.NodeVar(), base+"/var", false); err != nil {
		return err
	}
	if err := bind(r.dir.PodLogs(), base+"/var/log/pods", false); err != nil {
		return err
	}
	if err := bind(tmp, base+"/tmp", false); err != nil {
		return err
	}
	if err := mount("tmpfs", base+"/run", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64m"); err != nil {
		return err
	}
	if err := symlink("/run", base+"/var/run"); err != nil {
		return err
	}
	if err := os.MkdirAll(base+"/root", 0o700); err != nil {
		return err
	}
	return bind(r.bin, base+BinDir, true)
}

// data mounts the node's parts of the data directory at their own paths. The
// sockets of the engine are not among them: a pod with a hostPath could reach
// them. The run folder inside is the node's own.
func (r root) data(base string) error {
	// Where an earlier mount shows the data directory, this hides it.
	if err := mount("tmpfs", base+r.dir.String(), unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return err
	}
	for _, d := range []string{r.dir.Node(), r.dir.Volumes()} {
		if err := bind(d, base+d, false); err != nil {
			return err
		}
	}
	if err := bind(r.dir.Network(), base+r.dir.Network(), true); err != nil {
		return err
	}
	return mount("tmpfs", base+r.dir.Run(), unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700,size=1m")
}

// refreshPrograms shows the folder of the engine's programs anew where it was
// replaced since, as by a fresh clone or an upgrade, so that the next node half
// is of the new one.
func refreshPrograms(t *nodeThread, bin string) error {
	var host, node unix.Stat_t
	if err := unix.Stat(bin, &host); err != nil {
		return fmt.Errorf("looking for the engine's programs in %s: %w", bin, err)
	}
	err := t.do(func() error { return unix.Stat(BinDir, &node) })
	if err == nil && host.Dev == node.Dev && host.Ino == node.Ino {
		return nil
	}
	programs, err := copyTree(bin, true)
	if err != nil {
		return err
	}
	defer programs.close()
	return t.do(func() error {
		if err := unix.Unmount(BinDir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("hiding the engine's old programs: %w", err)
		}
		return programs.attach(BinDir)
	})
}

// names points the node's resolver to the network stack, which asks the
// host's; search domains stay those of the host.
func (r root) names(base string) error {
	raw, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	own := base + "/run/studio/resolv.conf"
	if err := os.WriteFile(own, []byte(resolvConf(string(raw), r.nameserver)), 0o644); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return nil // The host has none: the node half is told the path of its own.
	}
	if within(target, "/etc") || within(target, "/usr") {
		return bind(own, base+target, false)
	}
	// A link into /run, as systemd-resolved makes it: the target is made.
	if err := os.MkdirAll(filepath.Dir(base+target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(base+target, []byte(resolvConf(string(raw), r.nameserver)), 0o644)
}

// resolvConf replaces the servers in a resolv.conf and keeps the rest.
func resolvConf(host, nameserver string) string {
	lines := []string{"nameserver " + nameserver}
	for line := range strings.Lines(host) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "search" || f[0] == "domain" || f[0] == "options") {
			lines = append(lines, strings.Join(f, " "))
		}
	}
	return strings.Join(lines, "\n") + "\n"
}
