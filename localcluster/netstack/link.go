package netstack

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The names of the two ends of the link in the node's network namespace: the
// kernel routes to the first, the stack holds a packet socket on the second.
const (
	kernelEnd = "studio-up0"
	stackEnd  = "studio-up1"
)

// linkMTU lets one packet carry what the kernel's segmentation would need many for.
const linkMTU = 65520

var (
	// Locally administered addresses. stackMAC is not that of stackEnd: so the
	// kernel takes what arrives there for another's and leaves it to the stack.
	kernelMAC = net.HardwareAddr{0x02, 0x73, 0x74, 0x75, 0x64, 0x01}
	stackMAC  = net.HardwareAddr{0x02, 0x73, 0x74, 0x75, 0x64, 0x02}
)

// openLink makes the link in the network namespace of the calling thread, with
// a default route through it, and returns the packet socket. A packet socket
// on a veth pair needs, unlike a tap, no access to /dev/net/tun.
func openLink(c Config) (int, error) {
	fd, err := makeLink(c)
	if err != nil {
		return 0, fmt.Errorf("linking the node's network to the stack: %w", err)
	}
	return fd, nil
}

func makeLink(c Config) (int, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = kernelEnd, linkMTU, kernelMAC
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: stackEnd}); err != nil {
		return 0, fmt.Errorf("making a veth pair: %w", err)
	}
	near, err := netlink.LinkByName(kernelEnd)
	if err != nil {
		return 0, err
	}
	far, err := netlink.LinkByName(stackEnd)
	if err != nil {
		return 0, err
	}
	for _, l := range []netlink.Link{near, far} {
		// Only IPv4 is routed; without this the kernel sends its own IPv6 chatter.
		path := "/proc/sys/net/ipv6/conf/" + l.Attrs().Name + "/disable_ipv6"
		if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		if err := netlink.LinkSetMTU(l, linkMTU); err != nil {
			return 0, err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return 0, err
		}
	}
	if err := route(c, near); err != nil {
		return 0, err
	}
	return packetSocket(far.Attrs().Index)
}

// route sends what is for no local network to the stack, from the address that
// the node has in any case.
func route(c Config, near netlink.Link) error {
	via := net.IP(c.Nameserver.AsSlice())
	neighbour := &netlink.Neigh{LinkIndex: near.Attrs().Index, State: netlink.NUD_PERMANENT, IP: via, HardwareAddr: stackMAC}
	if err := netlink.NeighSet(neighbour); err != nil {
		return fmt.Errorf("naming the stack as neighbour: %w", err)
	}
	def := &netlink.Route{LinkIndex: near.Attrs().Index, Gw: via, Src: net.IP(c.Source.AsSlice()), Flags: int(netlink.FLAG_ONLINK)}
	if err := netlink.RouteReplace(def); err != nil {
		return fmt.Errorf("setting the default route: %w", err)
	}
	return nil
}

// packetSocket reads and writes IPv4 frames on the interface.
func packetSocket(index int) (int, error) {
	const protocol = unix.ETH_P_IP<<8 | unix.ETH_P_IP>>8 // network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol&0xffff)
	if err != nil {
		return 0, fmt.Errorf("opening a packet socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol & 0xffff, Ifindex: index})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("binding a packet socket: %w", err)
	}
	// Room for a burst of large frames; refused beyond the system's limit.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	return fd, nil
}
