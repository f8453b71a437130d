// Package podnet gives each pod an address on the node's bridge: a veth pair
// whose inner end is made right in the pod's network namespace. It changes the
// network namespace that it runs in, which must be the node's own.
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

// podLink is the name of the link inside a pod.
const podLink = "eth0"

// Network is the node's pod network.
type Network struct {
	Bridge  string
	PodCIDR netip.Prefix
	// Gateway is the bridge's address and the pods' way out.
	Gateway netip.Addr
	// MTU in bytes.
	MTU int

	index int
}

// SetUp makes the bridge, or takes it over as it is, and lets the node route.
func (n *Network) SetUp() error {
	link, err := netlink.LinkByName(n.Bridge)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = n.Bridge, n.MTU
		if err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err == nil {
			link, err = netlink.LinkByName(n.Bridge)
		}
	}
	if err != nil {
		return fmt.Errorf("making the pods' bridge %s: %w; it needs a network namespace of the node's own and a kernel with bridges (modprobe bridge)", n.Bridge, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(n.Gateway, n.PodCIDR.Bits())}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("giving bridge %s its address %s: %w", n.Bridge, addr.IPNet, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("starting bridge %s: %w", n.Bridge, err)
	}
	n.index = link.Attrs().Index
	// Loopback is the first link of every namespace.
	if err := netlink.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
		return fmt.Errorf("starting the node's loopback: %w", err)
	}
	return forward()
}

// forward turns routing on in this network namespace, where it is off.
func forward() error {
	const path = "/proc/sys/net/ipv4/ip_forward"
	raw, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(raw)) == "1" {
		return nil
	}
	if err := os.WriteFile(path, []byte("1"), 0); err != nil {
		return fmt.Errorf("turning routing on in the node's network: %w", err)
	}
	return nil
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
}

// LinkName is the node's end of a pod's pair.
func LinkName(sandbox string) string {
	if len(sandbox) > 10 {
		sandbox = sandbox[:10]
	}
	return "st" + sandbox
}

// Attach joins the network namespace of a process to the bridge with an address.
func (n *Network) Attach(sandbox string, pid int, ip netip.Addr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex, attrs.Flags = LinkName(sandbox), n.MTU, n.index, net.FlagUp
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: podLink, PeerNamespace: netlink.NsPid(pid)})
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
	if err := n.configure(h, ip); err != nil {
		return fmt.Errorf("configuring the pod's network: %w", err)
	}
	return nil
}

func (n *Network) configure(h *netlink.Handle, ip netip.Addr) error {
	if err := h.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
		return err
	}
	link, err := h.LinkByName(podLink)
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(ip, n.PodCIDR.Bits())}); err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: n.Gateway.AsSlice()})
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
