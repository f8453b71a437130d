// Package podnet gives each pod an address: a veth pair whose inner end is made
// right in the pod's network namespace, and a route to it. There is no bridge:
// every packet between two pods is routed by the node, and so passes its
// nftables rules both ways, which translated addresses of Services need. It
// changes the network namespace that it runs in, which must be the node's own.
package podnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// PodLink is the name of the link inside a pod.
const PodLink = "eth0"

// nodeMAC is the hardware address of the node's end of every pair, which no
// two share a wire with; it is locally administered.
var nodeMAC = net.HardwareAddr{0x02, 0x73, 0x74, 0x75, 0x64, 0x03}

// podMAC is made of the pod's address: both ends know it without asking.
func podMAC(ip netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x73}, ip.AsSlice()...)
}

// Network is the node's pod network.
type Network struct {
	// Gateway is the node's address and the pods' way out.
	Gateway netip.Addr
	// MTU in bytes.
	MTU int
}

// SetUp gives the node its address and lets it route.
func (n *Network) SetUp() error {
	// Loopback is the first link of every namespace.
	lo := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("starting the node's loopback: %w; it needs a network namespace of the node's own", err)
	}
	if err := netlink.AddrReplace(lo, &netlink.Addr{IPNet: host(n.Gateway)}); err != nil {
		return fmt.Errorf("giving the node its address %s: %w", n.Gateway, err)
	}
	for _, s := range []struct{ name, value string }{
		{"ipv4/ip_forward", "1"},
		// A pod that reaches itself through a Service is not to be told a shorter way.
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv4/conf/default/send_redirects", "0"},
		// Pods have IPv4; without this each link begins with IPv6's talk.
		{"ipv6/conf/default/disable_ipv6", "1"},
	} {
		if err := setSysctl(s.name, s.value); err != nil {
			return fmt.Errorf("turning routing on in the node's network: %w", err)
		}
	}
	return nil
}

// setSysctl writes a setting of this network namespace where it differs. One that
// the kernel does not have is none to set.
func setSysctl(name, value string) error {
	path := "/proc/sys/net/" + name
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(raw)) == value {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0)
}

// host is the network of one address.
func host(a netip.Addr) *net.IPNet { return netlink.NewIPNet(a.AsSlice()) }

// LinkName is the node's end of a pod's pair.
func LinkName(sandbox string) string {
	if len(sandbox) > 10 {
		sandbox = sandbox[:10]
	}
	return "st" + sandbox
}

// Attach joins the network namespace of a process to the node with an address.
func (n *Network) Attach(sandbox string, pid int, ip netip.Addr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Flags = LinkName(sandbox), n.MTU, nodeMAC, net.FlagUp
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: PodLink, PeerHardwareAddr: podMAC(ip), PeerNamespace: netlink.NsPid(pid)})
	if err != nil {
		return fmt.Errorf("making the pod's network link: %w", err)
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("opening the pod's network namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("entering the pod's network namespace: %w", err)
	}
	defer h.Close()
	if err := n.inside(h, ip); err != nil {
		return fmt.Errorf("configuring the pod's network: %w", err)
	}
	// Last: a link without a carrier takes no route.
	if err := n.outside(attrs.Name, ip); err != nil {
		return fmt.Errorf("routing to the pod: %w", err)
	}
	return nil
}

// inside configures the pod's end. The node is its only neighbour.
func (n *Network) inside(h *netlink.Handle, ip netip.Addr) error {
	if err := h.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
		return err
	}
	link, err := h.LinkByName(PodLink)
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: host(ip)}); err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	index := link.Attrs().Index
	if err := h.NeighAdd(neighbour(index, n.Gateway, nodeMAC)); err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: index, Gw: n.Gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
}

// outside configures the node's end. All of it goes with the link.
func (n *Network) outside(name string, ip netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	if err := netlink.NeighAdd(neighbour(index, ip, podMAC(ip))); err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: index, Dst: host(ip), Src: n.Gateway.AsSlice(), Scope: netlink.SCOPE_LINK})
}

func neighbour(index int, ip netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: mac}
}

// Traffic is what a pod has sent and received: the other way round at the node's end.
func Traffic(sandbox string) (netlink.LinkStatistics, error) {
	link, err := netlink.LinkByName(LinkName(sandbox))
	if err != nil {
		return netlink.LinkStatistics{}, err
	}
	st := link.Attrs().Statistics
	if st == nil {
		return netlink.LinkStatistics{}, nil
	}
	own := *st
	own.RxBytes, own.TxBytes, own.RxErrors, own.TxErrors = st.TxBytes, st.RxBytes, st.TxErrors, st.RxErrors
	return own, nil
}

// Detach removes a pod's link at once; without it the kernel does so some time
// after the namespace's last process. A missing link is no error.
func (n *Network) Detach(sandbox string) error {
	err := netlink.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: LinkName(sandbox)}})
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	return err
}
