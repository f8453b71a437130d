package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mlstudio/studio/localcluster/holder/namespaces"
)

// parts are the programs that must lie beside this one.
var parts = []string{"studiod", "studio-platform", "studio-shim"}

func programs(_ context.Context, _ machine) verdict {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return broken("this program's own place is not known: "+err.Error(), "run it from its folder: ./bin/studio")
	}
	return programsIn(filepath.Dir(self))
}

func programsIn(folder string) verdict {
	var missing []string
	for _, name := range parts {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode()&0o111 == 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return broken(fmt.Sprintf("%s must lie beside studio in %s", strings.Join(missing, ", "), folder), "make build")
	}
	return ok(folder)
}

// namespacesWork really makes the namespaces and mounts that the node needs.
func namespacesWork(ctx context.Context, m machine) verdict {
	scratch := existing(m.dir.String())
	err := namespaces.Probe(ctx, scratch)
	var forbidden *namespaces.ForbiddenError
	switch {
	case err == nil && namespaces.CapableRoot():
		return ok("as root")
	case err == nil:
		return ok("without root")
	case errors.As(err, &forbidden):
		return broken(fmt.Sprintf("%s: %v", forbidden.What, forbidden.Err), forbidden.Cure)
	}
	// The probe's child hands its words over as text: "cause; cure".
	cause, cure, _ := strings.Cut(err.Error(), "; ")
	return broken(cause, cure)
}

// nftFolders are where the node half looks for programs.
var nftFolders = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// nftables: kube-proxy writes its rules with the program nft.
func nftables(_ context.Context, m machine) verdict {
	for _, folder := range nftFolders {
		path := filepath.Join(folder, "nft")
		if info, err := os.Stat(m.path(path)); err == nil && info.Mode()&0o111 != 0 {
			return ok(path)
		}
	}
	return broken("the program nft is not installed, which the addresses of Services and the cluster's DNS need", "sudo apt-get install nftables")
}

func overlay(_ context.Context, m machine) verdict {
	for line := range strings.Lines(m.text("/proc/filesystems")) {
		if strings.HasSuffix(strings.TrimSpace(line), "overlay") {
			return ok("known to the kernel")
		}
	}
	return warning("the kernel does not have overlay loaded, so pods would see the system's folders read-only", "sudo modprobe overlay")
}

func userIDs(_ context.Context, m machine) verdict {
	if namespaces.CapableRoot() {
		return ok("root has all of them")
	}
	const less = "pods that run as other users or change owners fail"
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			return warning(program+" is not installed: "+less, "sudo apt-get install uidmap")
		}
	}
	return ranges(m, less)
}

func ranges(m machine, less string) verdict {
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		found := false
		for line := range strings.Lines(m.text(file)) {
			name, _, _ := strings.Cut(line, ":")
			found = found || name == m.user.Username || name == strconv.Itoa(m.uid)
		}
		if !found {
			return warning(fmt.Sprintf("%s has no line for %s: %s", file, m.user.Username, less),
				fmt.Sprintf("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", m.user.Username))
		}
	}
	return ok("a range of them is mapped")
}

// cgroups tells whether the kernel holds the limits of pods.
func cgroups(_ context.Context, m machine) verdict {
	const less = "memory and processes of pods are limited by a watch, CPU by a lower priority alone"
	v2 := m.text("/sys/fs/cgroup/cgroup.controllers") != ""
	if m.uid == 0 {
		if missing := lacking(strings.Fields(m.text("/proc/cgroups") + m.text("/sys/fs/cgroup/cgroup.controllers"))); len(missing) > 0 {
			return info(fmt.Sprintf("the kernel's control groups lack %s: %s", strings.Join(missing, ", "), less), "look for cgroup_disable among the boot options in /proc/cmdline")
		}
		return ok("held by control groups")
	}
	if !v2 {
		return info("this system does not use cgroup v2, and version 1 is root's: "+less, "boot with systemd.unified_cgroup_hierarchy=1")
	}
	user := fmt.Sprintf("/user.slice/user-%d.slice/user@%d.service", m.uid, m.uid)
	have := strings.Fields(m.text(filepath.Join("/sys/fs/cgroup", user, "cgroup.controllers")))
	if len(have) == 0 {
		return info("no systemd runs for this user, who gets control groups from it: "+less, "log in so that one runs; `loginctl enable-linger` keeps it")
	}
	if missing := lacking(have); len(missing) > 0 {
		return info(fmt.Sprintf("%s not delegated to you: %s", strings.Join(missing, ", "), less),
			"sudo systemctl set-property user@"+strconv.Itoa(m.uid)+".service Delegate=\"cpu memory pids\"")
	}
	return ok("held by control groups that systemd delegates")
}

// lacking lists the controllers of which a group needs all.
func lacking(have []string) (missing []string) {
	for _, want := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(have, want) {
			missing = append(missing, want)
		}
	}
	return missing
}

// What watching a project of some size takes.
const (
	enoughWatches   = 65536
	enoughInstances = 128
)

func inotify(_ context.Context, m machine) verdict {
	watches := m.number("/proc/sys/fs/inotify/max_user_watches")
	instances := m.number("/proc/sys/fs/inotify/max_user_instances")
	if watches < enoughWatches || instances < enoughInstances {
		return warning(fmt.Sprintf("the kernel allows %d watches and %d instances; large projects need more", watches, instances),
			"printf 'fs.inotify.max_user_watches=524288\\nfs.inotify.max_user_instances=1024\\n' | sudo tee /etc/sysctl.d/60-studio.conf && sudo sysctl --system")
	}
	return ok(fmt.Sprintf("%d watches", watches))
}

func (m machine) number(path string) int {
	n, _ := strconv.Atoi(strings.TrimSpace(m.text(path)))
	return n
}

// littleMemory is what the platform and a small job need together.
const littleMemory = 1500 << 20

func memory(_ context.Context, m machine) verdict {
	lines := bufio.NewScanner(strings.NewReader(m.text("/proc/meminfo")))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || f[0] != "MemAvailable:" {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		said := fmt.Sprintf("%.1f GB are available", float64(kib)*1024/1e9)
		if kib*1024 < littleMemory {
			return warning("only "+said, "close other programs; `ps aux --sort=-rss | head` shows the largest")
		}
		return ok(said)
	}
	return info("the free memory is not known", "")
}

func python(ctx context.Context, m machine) verdict {
	const path = "/usr/bin/python3"
	if _, err := os.Stat(m.path(path)); err != nil {
		return warning("there is no "+path+"; projects need an environment of their own", "sudo apt-get install python3 python3-venv")
	}
	out, err := exec.CommandContext(ctx, m.path(path), "-I", "-c", "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])").Output()
	if err != nil {
		return warning("the system's Python can not make environments", "sudo apt-get install python3-venv")
	}
	return ok(strings.TrimSpace(string(out)))
}

// linger tells whether a plain user's engine survives the end of the session.
func linger(_ context.Context, m machine) verdict {
	if m.uid == 0 || m.user.Username == "" {
		return ok("root's processes go on")
	}
	if _, err := os.Stat(m.path("/run/systemd/system")); err != nil {
		return ok("no session manager ends it")
	}
	if _, err := os.Stat(m.path(filepath.Join("/var/lib/systemd/linger", m.user.Username))); err == nil {
		return ok("lingering is on")
	}
	kills := false
	for line := range strings.Lines(m.text("/etc/systemd/logind.conf")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		kills = kills || strings.TrimSpace(key) == "KillUserProcesses" && slices.Contains([]string{"yes", "true", "1", "on"}, strings.ToLower(strings.TrimSpace(value)))
	}
	if kills {
		return warning("this system ends all of your processes when you log out, the platform and its jobs too", "sudo loginctl enable-linger "+m.user.Username)
	}
	return ok("processes go on after log-out")
}
