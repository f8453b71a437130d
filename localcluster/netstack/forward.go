package netstack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/mlstudio/studio/localcluster/forward"
)

const (
	// maxDialing bounds the connections that wait for their host side at once.
	maxDialing = 1024
	// dialTimeout is what a client of the node waits at most to learn that a
	// host does not answer; packets to such a host get no event back.
	dialTimeout = 10 * time.Second
	// udpIdle ends a UDP exchange, which has no end of its own.
	udpIdle = 90 * time.Second
)

// errRefused: the address is none that the node may reach.
var errRefused = errors.New("address is not reachable from the node")

// hostSide opens the host's connections.
type hostSide struct {
	ctx    context.Context
	stack  *stack.Stack
	config Config
}

// target says what to dial for a destination that the node named.
func (c Config) target(address netip.Addr, port uint16) (string, error) {
	address = address.Unmap()
	if address == c.Host && slices.Contains(c.HostPorts, port) {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String(), nil
	}
	if !address.IsValid() || address.IsLoopback() || address.IsUnspecified() || address.IsMulticast() ||
		address == c.Host || address == c.Source || address == c.Nameserver || address == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return "", errRefused
	}
	if slices.ContainsFunc(c.Refuse, func(p netip.Prefix) bool { return p.Contains(address) }) {
		return "", errRefused
	}
	return netip.AddrPortFrom(address, port).String(), nil
}

func (h *hostSide) dial(network string, id stack.TransportEndpointID) (net.Conn, error) {
	address, _ := netip.AddrFromSlice(id.LocalAddress.AsSlice())
	target, err := h.config.target(address, id.LocalPort)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(h.ctx, network, target)
}

// tcp answers a connection request once the host's side is open, so that the
// client in the node learns of a refusal as if it had dialed itself.
func (h *hostSide) tcp(r *tcp.ForwarderRequest) {
	up, err := h.dial("tcp", r.ID())
	if err != nil {
		h.config.Log.Debug("dialing for the node", "to", r.ID().LocalAddress, "port", r.ID().LocalPort, "error", err)
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	endpoint, terr := r.CreateEndpoint(&queue)
	if terr != nil {
		r.Complete(true)
		up.Close()
		return
	}
	r.Complete(false)
	endpoint.SocketOptions().SetDelayOption(false)
	endpoint.SocketOptions().SetKeepAlive(true)
	go forward.Pipe(h.ctx, gonet.NewTCPConn(&queue, endpoint), up)
}

func (h *hostSide) udp(r *udp.ForwarderRequest) {
	var queue waiter.Queue
	endpoint, terr := r.CreateEndpoint(&queue)
	if terr != nil {
		return
	}
	id := r.ID()
	go func() {
		down := gonet.NewUDPConn(&queue, endpoint)
		up, err := h.dial("udp", id)
		if err != nil {
			down.Close()
			return
		}
		h.exchange(down, up)
	}()
}

// exchange copies datagrams both ways until neither side has sent for udpIdle.
func (h *hostSide) exchange(a, b net.Conn) {
	defer a.Close()
	defer b.Close()
	stop := context.AfterFunc(h.ctx, func() { a.Close(); b.Close() })
	defer stop()
	// UDP has no event for its end: the last datagram's age decides.
	alive := make(chan struct{}, 1)
	copyAll := func(from, to net.Conn) {
		buffer := make([]byte, 1<<16)
		for {
			n, err := from.Read(buffer)
			if err == nil {
				_, err = to.Write(buffer[:n])
			}
			if errors.Is(err, net.ErrClosed) || err != nil && h.ctx.Err() != nil {
				return
			}
			if err != nil {
				// Refused by the far side, as the kernel tells a sender of a
				// datagram; nothing more comes.
				a.Close()
				b.Close()
				return
			}
			select {
			case alive <- struct{}{}:
			default:
			}
		}
	}
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			copyAll(way[0], way[1])
			done <- struct{}{}
		}()
	}
	idle := time.NewTimer(udpIdle)
	defer idle.Stop()
	for {
		select {
		case <-done:
			return
		case <-alive:
			idle.Reset(udpIdle)
		case <-idle.C:
			return
		}
	}
}

func fullAddress(a netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: port}
}
