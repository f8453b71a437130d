package expose

import (
	"fmt"

	"github.com/prometheus/procfs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// listener names the program that listens on a port, as far as this user may know.
func listener(port int) string {
	const unknown = "another program"
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return unknown
	}
	sockets := map[string]bool{}
	const listens = 0x0a
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		all, _ := netlink.SocketDiagTCP(family) // without an answer the program stays unnamed
		for _, s := range all {
			if s.State == listens && int(s.ID.SourcePort) == port {
				sockets[fmt.Sprintf("socket:[%d]", s.INode)] = true
			}
		}
	}
	procs, err := fs.AllProcs()
	if err != nil {
		return unknown
	}
	for _, p := range procs {
		targets, err := p.FileDescriptorTargets()
		if err != nil {
			continue // another user's, or gone
		}
		for _, t := range targets {
			if sockets[t] {
				name, _ := p.Comm()
				return fmt.Sprintf("process %d (%s)", p.PID, name)
			}
		}
	}
	return "another user's program"
}
