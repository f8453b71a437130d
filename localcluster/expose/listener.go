package expose

import (
	"fmt"

	"github.com/prometheus/procfs"
)

// listener names the program that listens on a port, as far as this user may know.
func listener(port int) string {
	const unknown = "another program"
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return unknown
	}
	sockets := map[string]bool{}
	four, _ := fs.NetTCP()
	six, _ := fs.NetTCP6()
	const listens = 0x0a
	for _, table := range []procfs.NetTCP{four, six} {
		for _, line := range table {
			if line.St == listens && line.LocalPort == uint64(port) {
				sockets[fmt.Sprintf("socket:[%d]", line.Inode)] = true
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
