package hostrt

import (
	"fmt"
	"slices"
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

// newProcess is as whom and with what a container's commands run.
func (s *Server) newProcess(c *container, project *projects.Project) (*shimapi.Process, error) {
	who := c.user
	if who == nil { // a former version has made the container
		var err error
		if who, err = s.resolveUser(c); err != nil {
			return nil, err
		}
	}
	sec := c.cfg.GetLinux().GetSecurityContext()
	home := s.homeOf(c, who.UID)
	if c.image != nil && project == nil {
		home = who.Home
	}
	p := &shimapi.Process{
		UID: who.UID, GID: who.GID, Groups: who.Groups,
		NoNewPrivileges: sec.GetNoNewPrivs(), Capabilities: s.capabilitiesOf(sec),
		Env: newEnv(c, project, home), Cwd: c.cfg.GetWorkingDir(),
	}
	if p.Cwd == "" && project == nil && c.image != nil {
		p.Cwd = c.image.Config.WorkingDir
	}
	if p.Cwd == "" {
		p.Cwd = "/"
		if project != nil {
			p.Cwd = project.Dir
		}
	}
	return p, nil
}
