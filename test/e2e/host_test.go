//go:build e2e

package e2e

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlstudio/studio/localcluster/cgroup"
)

// moving are host values that change by themselves: counters, clocks, and what
// the kernel derives from the memory that is free.
var moving = []string{
	"/proc/sys/fs/dentry-state", "/proc/sys/fs/file-nr", "/proc/sys/fs/inode-nr", "/proc/sys/fs/inode-state", "/proc/sys/fs/quota",
	"/proc/sys/fs/aio-nr", "/proc/sys/fs/epoll", "/proc/sys/kernel/random", "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/pty/nr",
	"/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/kernel/sched_domain", "/proc/sys/fs/lease-break-time",
	"/proc/sys/net/ipv4/route", "/proc/sys/net/ipv6/route",
}

// A cluster that trains and goes leaves the machine as it was, and changes
// none of its settings even while it runs.
func TestHostUnchanged(t *testing.T) {
	e := newEngine(t)
	before := snapshot(t, e)
	e.up()
	e.output(shell("short", "true"))
	during := snapshot(t, e)
	e.studio("delete", "--yes")
	after := snapshot(t, e)

	for what := range before {
		if len(before[what]) == 0 {
			t.Logf("nothing to compare of %s on this machine", what)
		}
		compare(t, what+" after", before[what], after[what])
		if what != "cgroups" { // pods have some of their own while they run
			compare(t, what+" while it runs", before[what], during[what])
		}
	}
	if len(before["sysctls"]) < 100 || len(before["/var"]) < 10 {
		t.Errorf("only %d sysctls and %d entries of /var were read", len(before["sysctls"]), len(before["/var"]))
	}
}

// snapshot maps a kind of host state to its items and their values.
func snapshot(t *testing.T, e *engine) map[string]map[string]string {
	t.Helper()
	return map[string]map[string]string{
		"sysctls":  sysctls(t),
		"cgroups":  cgroupsOf(t, e),
		"/var":     listing(t, "/var"),
		"/run":     listing(t, "/run"),
		"firewall": firewall(),
		"links":    listing(t, "/sys/class/net"),
		"routes":   content(t, "/proc/net/route"),
		"mounts":   content(t, "/proc/self/mounts"),
	}
}

// cgroupsOf are all groups but those of other engines, which come and go.
func cgroupsOf(t *testing.T, e *engine) map[string]string {
	t.Helper()
	own := cgroup.Name(e.dir)
	all := listing(t, "/sys/fs/cgroup")
	maps.DeleteFunc(all, func(path, _ string) bool { return strings.Contains(path, "/studio-") && !strings.Contains(path, own) })
	return all
}

func compare(t *testing.T, what string, before, now map[string]string) {
	t.Helper()
	for _, item := range slices.Sorted(maps.Keys(now)) {
		was, known := before[item]
		switch {
		case !known:
			t.Errorf("%s: %s is new", what, item)
		case was != now[item]:
			t.Errorf("%s: %s was %q and is %q", what, item, was, now[item])
		}
	}
	for _, item := range slices.Sorted(maps.Keys(before)) {
		if _, kept := now[item]; !kept {
			t.Errorf("%s: %s is gone", what, item)
		}
	}
}

func sysctls(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	walk(t, "/proc/sys", func(path string, d fs.DirEntry) {
		if !d.Type().IsRegular() || slices.ContainsFunc(moving, func(m string) bool { return strings.HasPrefix(path, m) }) {
			return
		}
		// Some can only be written, or only be read by root.
		if raw, err := os.ReadFile(path); err == nil {
			values[path] = string(raw)
		}
	})
	return values
}

// listing is the tree below a folder; files of other programs may change, not appear.
func listing(t *testing.T, folder string) map[string]string {
	t.Helper()
	paths := map[string]string{}
	walk(t, folder, func(path string, d fs.DirEntry) {
		if folder != "/sys/fs/cgroup" || d.IsDir() {
			paths[path] = d.Type().String()
		}
	})
	return paths
}

// walk passes over what this user may not look into and what goes away.
func walk(t *testing.T, folder string, see func(string, fs.DirEntry)) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		see(path, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// firewall holds the rules that this user and this machine's programs can list.
func firewall() map[string]string {
	rules := map[string]string{}
	for _, command := range [][]string{{"nft", "list", "ruleset"}, {"iptables-save"}, {"ip6tables-save"}} {
		out, err := exec.CommandContext(context.Background(), command[0], command[1:]...).Output()
		if err != nil {
			continue
		}
		var lines []string
		for line := range strings.Lines(string(out)) {
			if !strings.HasPrefix(line, "#") { // the time of the listing
				lines = append(lines, line)
			}
		}
		rules[strings.Join(command, " ")] = strings.Join(lines, "")
	}
	return rules
}

func content(t *testing.T, path string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		lines[line] = ""
	}
	return lines
}
