package proc

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Listener is a TCP socket that waits for connections.
type Listener struct {
	Process Process
	Address netip.AddrPort
}

// Listeners are those of the processes that lie in this process's network
// namespace: what the machine's own users and neighbours could reach.
func Listeners(ps []Process) ([]Listener, error) {
	sockets, err := listening()
	if err != nil {
		return nil, err
	}
	var found []Listener
	for _, p := range ps {
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.PID))
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			// "socket:[INODE]"; a descriptor that was closed meanwhile is none.
			target, err := os.Readlink(fd)
			if err != nil {
				continue
			}
			inode, ok := strings.CutPrefix(target, "socket:[")
			if address, listens := sockets[strings.TrimSuffix(inode, "]")]; ok && listens {
				found = append(found, Listener{Process: p, Address: address})
			}
		}
	}
	return found, nil
}

// listening maps the inodes of this namespace's listening sockets to addresses.
func listening() (map[string]netip.AddrPort, error) {
	const listen = "0A"
	sockets := map[string]netip.AddrPort{}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		raw, err := os.ReadFile(table)
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != listen {
				continue
			}
			address, err := parse(f[1])
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", table, err)
			}
			sockets[f[9]] = address
		}
	}
	return sockets, nil
}

// parse reads "0100007F:1F90": words of four bytes in the machine's order, here little endian.
func parse(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
