package hostrt

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
	"github.com/mlstudio/studio/localcluster/projects"
)

// capNames are all capabilities, by their numbers.
var capNames = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// makeNodes would, as root, open the raw disk and with it every file of the
// machine: no device cgroup stands before it. Only privileged containers have it.
const makeNodes = "CAP_MKNOD"

// defaultCaps are those of a container that asks for no change, as with other
// runtimes but for makeNodes.
var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// boundingSet reads what this process, and so a container, can have at most.
func boundingSet() ([]string, error) {
	var all []string
	for i, name := range capNames {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(i), 0, 0, 0)
		if err != nil {
			break // a kernel that does not know the newest
		}
		if has == 1 {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading the bounding set of capabilities: none is there; the node needs root or a user namespace")
	}
	return all, nil
}

// capabilitiesOf is what the container asks for and the node can give.
func (s *Server) capabilitiesOf(sec *rt.LinuxContainerSecurityContext) []string {
	want := slices.Clone(defaultCaps)
	if sec.GetPrivileged() {
		want = slices.Clone(capNames)
	}
	norm := func(name string) string {
		name = strings.ToUpper(name)
		if name != "ALL" && !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		return name
	}
	// ALL first, then single ones, whichever list they are in.
	add, drop := sec.GetCapabilities().GetAddCapabilities(), sec.GetCapabilities().GetDropCapabilities()
	for _, n := range add {
		if norm(n) == "ALL" {
			want = slices.Clone(capNames)
		}
	}
	for _, n := range drop {
		if norm(n) == "ALL" {
			want = nil
		}
	}
	for _, n := range add {
		if n = norm(n); n != "ALL" && !slices.Contains(want, n) {
			want = append(want, n)
		}
	}
	for _, n := range drop {
		want = slices.DeleteFunc(want, func(have string) bool { return have == norm(n) })
	}
	return slices.DeleteFunc(want, func(n string) bool {
		return !slices.Contains(s.caps, n) || n == makeNodes && !sec.GetPrivileged()
	})
}

// idRange is one line of a user namespace's map, as seen inside.
type idRange struct{ first, count uint64 }

// idMap says which user and group numbers exist here.
type idMap struct{ users, groups []idRange }

func readIDMap() (m idMap, err error) {
	if m.users, err = readRanges("/proc/self/uid_map"); err != nil {
		return m, err
	}
	m.groups, err = readRanges("/proc/self/gid_map")
	return m, err
}

func readRanges(path string) ([]idRange, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the mapped users: %w", err)
	}
	defer f.Close()
	var all []idRange
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var r idRange
		var outside uint64
		if _, err := fmt.Sscan(sc.Text(), &r.first, &outside, &r.count); err != nil {
			return nil, fmt.Errorf("reading the mapped users: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

func mapped(ranges []idRange, id uint64) bool {
	return slices.ContainsFunc(ranges, func(r idRange) bool { return id >= r.first && id-r.first < r.count })
}

// cureUnmapped is what to do about a user that does not exist here.
const cureUnmapped = "this node runs without root and has a range of users only with newuidmap: install the package uidmap, see that /etc/subuid and /etc/subgid name you, then `studio down` and `studio up`"

// newProcess is as whom and with what a container's commands run.
func (s *Server) newProcess(c *container, project *projects.Project) (*shimapi.Process, error) {
	sec := c.cfg.GetLinux().GetSecurityContext()
	p := &shimapi.Process{NoNewPrivileges: sec.GetNoNewPrivs(), Capabilities: s.capabilitiesOf(sec)}
	passwd, err := readPasswd()
	if err != nil {
		return nil, err
	}
	switch {
	case sec.GetRunAsUser() != nil:
		p.UID = uint32(sec.GetRunAsUser().GetValue())
		p.GID = passwd.group(p.UID)
	case sec.GetRunAsUsername() != "":
		u, ok := passwd.byName[sec.GetRunAsUsername()]
		if !ok {
			return nil, fmt.Errorf("the container is to run as user %q, whom this machine does not know: set runAsUser to a number", sec.GetRunAsUsername())
		}
		p.UID, p.GID = u.uid, u.gid
	}
	if g := sec.GetRunAsGroup(); g != nil {
		p.GID = uint32(g.GetValue())
	}
	if !mapped(s.ids.users, uint64(p.UID)) {
		return nil, fmt.Errorf("the container is to run as user %d, who does not exist on this node: %s", p.UID, cureUnmapped)
	}
	if !mapped(s.ids.groups, uint64(p.GID)) {
		return nil, fmt.Errorf("the container is to run as group %d, which does not exist on this node: %s", p.GID, cureUnmapped)
	}
	for _, g := range sec.GetSupplementalGroups() {
		if !mapped(s.ids.groups, uint64(g)) {
			s.once(c.pod, fmt.Sprintf("UnmappedGroup %d", g), Event{Warning: true, Reason: "UnmappedGroup", Message: fmt.Sprintf("group %d does not exist on this node and is left out: %s", g, cureUnmapped)})
			continue
		}
		p.Groups = append(p.Groups, uint32(g))
	}
	p.Env = newEnv(c, project, s.homeOf(c, p.UID))
	p.Cwd = c.cfg.GetWorkingDir()
	if p.Cwd == "" {
		p.Cwd = "/"
		if project != nil {
			p.Cwd = project.Dir
		}
	}
	return p, nil
}

type passwdEntry struct{ uid, gid uint32 }

// passwdFile is the machine's list of users, which is the image's.
type passwdFile struct {
	byName map[string]passwdEntry
	byID   map[uint32]passwdEntry
}

func (p passwdFile) group(uid uint32) uint32 { return p.byID[uid].gid }

func readPasswd() (passwdFile, error) {
	out := passwdFile{byName: map[string]passwdEntry{}, byID: map[uint32]passwdEntry{}}
	raw, err := os.ReadFile("/etc/passwd")
	if err != nil && !os.IsNotExist(err) {
		return out, fmt.Errorf("reading the machine's users: %w", err)
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 4 {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		e := passwdEntry{uint32(uid), uint32(gid)}
		out.byName[f[0]] = e
		if _, ok := out.byID[e.uid]; !ok {
			out.byID[e.uid] = e
		}
	}
	return out, nil
}
