//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/mlstudio/studio/test/proc"
)

// traces counts what pods have while they live, as the node and its files show it.
type traces map[string]int

// allowed is by how much a count may be above the earlier one. What pods make
// one of each must be back at what it was; descriptors of the engine's
// processes move with its connections.
func allowed(what string) int {
	if strings.HasPrefix(what, "descriptors") {
		return 25
	}
	return 0
}

// beyond lists what is more than before.
func (now traces) beyond(before traces) []string {
	var more []string
	for _, what := range slices.Sorted(maps.Keys(now)) {
		if now[what] > before[what]+allowed(what) {
			more = append(more, fmt.Sprintf("%s: %d, before %d", what, now[what], before[what]))
		}
	}
	return more
}

// traces looks at the node from outside.
func (e *engine) traces() traces {
	e.t.Helper()
	found := traces{}
	var node *proc.Process
	nets, mounts := map[string]bool{}, map[string]bool{}
	for _, p := range e.processes() {
		found["processes "+p.Name]++
		dir := fmt.Sprintf("/proc/%d", p.PID)
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil {
			nets[ns] = true
		}
		if ns, err := os.Readlink(dir + "/ns/mnt"); err == nil {
			mounts[ns] = true
		}
		if p.Name == "studiod" && len(p.Args) > 1 {
			found["descriptors of studiod "+p.Args[1]] += e.descriptors(dir)
			if p.Args[1] == "node" {
				node = &p
			}
		}
	}
	found["network namespaces"], found["mount namespaces"] = len(nets), len(mounts)
	if node == nil {
		e.t.Fatal("the node does not run")
	}
	dir := fmt.Sprintf("/proc/%d", node.PID)
	found["mounts of the node"] = lines(e, dir+"/mountinfo")
	found["links"] = lines(e, dir+"/net/dev")
	found["routes"] = lines(e, dir+"/net/route")
	found["neighbours"] = lines(e, dir+"/net/arp")
	found["rules"] = strings.Count(e.inNode(node.PID, "nft", "list", "ruleset"), "\n")
	// What the kubelet and the runtime keep of each pod.
	for _, folder := range []string{e.dir.Hostrt(), filepath.Join(e.dir.Kubelet(), "pods"), e.dir.PodLogs(), e.dir.Kept(), filepath.Join(e.dir.NodeVar(), "log", "containers")} {
		rel, err := filepath.Rel(e.dir.String(), folder)
		if err != nil {
			e.t.Fatal(err)
		}
		found["files in "+rel] = files(folder)
	}
	return found
}

// descriptors counts those of a process without the database's: SQLite keeps as
// many of these as there ever were connections at once, and uses them again.
func (e *engine) descriptors(dir string) int {
	n := 0
	fds, _ := filepath.Glob(dir + "/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && !strings.HasPrefix(target, e.dir.DB()) {
			n++
		}
	}
	return n
}

func lines(e *engine, path string) int {
	e.t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	return strings.Count(string(raw), "\n")
}

func files(folder string) int {
	n := 0
	_ = filepath.WalkDir(folder, func(_ string, _ fs.DirEntry, err error) error {
		if err == nil {
			n++
		}
		return nil
	})
	return n
}

// inNode runs a program of the machine in the node's network namespace.
func (e *engine) inNode(pid int, program ...string) string {
	e.t.Helper()
	args := []string{"-t", strconv.Itoa(pid), "-n"}
	if os.Getuid() != 0 {
		args = append(args, "-U", "--preserve-credentials")
	}
	cmd := exec.Command("nsenter", append(args, program...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		e.t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}
