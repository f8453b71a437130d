// Package netstack carries traffic of the node's network namespace to the
// outside without any privilege: gVisor's TCP/IP stack ends each connection
// and opens one of the host's own in its place. The host's loopback is out of
// reach but for the ports that the caller names.
package netstack

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp" // keeps the table of neighbours
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"golang.org/x/sys/unix"
)

// Config is what a stack needs.
type Config struct {
	// Source is the node's own address, the source of what the node itself sends.
	Source netip.Addr
	// Nameserver is the address at which the node finds a DNS server, and the
	// stack itself.
	Nameserver netip.Addr
	// Host is the address that stands for the host's loopback, for HostPorts alone.
	Host      netip.Addr
	HostPorts []uint16
	// Refuse lists ranges that are never dialed, as the cluster's own.
	Refuse []netip.Prefix
	// ResolvConf is the host's; empty: /etc/resolv.conf.
	ResolvConf string
	Log        *slog.Logger
}

// Link is the node's end, made by Open.
type Link struct {
	fd     int
	config Config
}

// Open makes the link and the default route in the network namespace of the
// calling thread.
func Open(c Config) (*Link, error) {
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	fd, err := openLink(c)
	if err != nil {
		return nil, err
	}
	return &Link{fd: fd, config: c}, nil
}

const nic tcpip.NICID = 1

// Serve carries traffic until ctx ends. It dials from the network namespace
// of the process; it returns at once.
func (l *Link) Serve(ctx context.Context) error {
	endpoint, err := fdbased.New(&fdbased.Options{
		FDs: []int{l.fd}, MTU: linkMTU, EthernetHeader: true, Address: tcpip.LinkAddress(stackMAC),
		PacketDispatchMode: fdbased.RecvMMsg,
		// The kernel leaves checksums of local packets to a card that is not there.
		RXChecksumOffload: true,
	})
	if err != nil {
		return fmt.Errorf("starting the network stack: %w", err)
	}
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	if err := l.configure(s, endpoint); err != nil {
		return err
	}
	h := &hostSide{ctx: ctx, stack: s, config: l.config}
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s, 0, maxDialing, h.tcp).HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s, h.udp).HandlePacket)
	if err := h.serveDNS(l.config.Nameserver); err != nil {
		return err
	}
	context.AfterFunc(ctx, func() {
		s.Destroy()
		unix.Close(l.fd)
	})
	return nil
}

func (l *Link) configure(s *stack.Stack, endpoint stack.LinkEndpoint) error {
	gateway := tcpip.AddrFromSlice(l.config.Source.AsSlice())
	for _, step := range []func() tcpip.Error{
		func() tcpip.Error { return s.CreateNIC(nic, endpoint) },
		func() tcpip.Error { return s.SetPromiscuousMode(nic, true) },
		func() tcpip.Error { return s.SetSpoofing(nic, true) },
		func() tcpip.Error {
			return s.AddStaticNeighbor(nic, ipv4.ProtocolNumber, gateway, tcpip.LinkAddress(kernelMAC))
		},
		func() tcpip.Error {
			sack := tcpip.TCPSACKEnabled(true)
			return s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
		},
		func() tcpip.Error {
			moderate := tcpip.TCPModerateReceiveBufferOption(true)
			return s.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate)
		},
	} {
		if err := step(); err != nil {
			return fmt.Errorf("starting the network stack: %s", err)
		}
	}
	nameserver := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFromSlice(l.config.Nameserver.AsSlice()).WithPrefix()}
	if err := s.AddProtocolAddress(nic, nameserver, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("starting the network stack: %s", err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: anywhere(), Gateway: gateway, NIC: nic}})
	// The stack takes every address for its own; without a limit of zero it
	// would answer pings for hosts that may not exist.
	s.SetICMPLimit(0)
	s.SetICMPBurst(0)
	return nil
}

func anywhere() tcpip.Subnet {
	subnet, err := tcpip.NewSubnet(tcpip.AddrFrom4([4]byte{}), tcpip.MaskFromBytes(make([]byte, 4)))
	if err != nil {
		panic(err) // Constants.
	}
	return subnet
}
