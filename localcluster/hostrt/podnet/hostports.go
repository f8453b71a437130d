package podnet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"
)

// table is the nftables table of the host ports; kube-proxy has its own.
const table = "studio-hostports"

// Mapping is a port of the node that leads to one of a pod.
type Mapping struct {
	// Protocol is tcp, udp or sctp.
	Protocol string
	// HostIP is the node's address to open the port at; none means all.
	HostIP   netip.Addr
	HostPort uint16
	PodIP    netip.Addr
	PodPort  uint16
}

// HostPorts keeps the rules of all pods' host ports: each change replaces them
// as a whole, so nothing of an earlier life of the node half is left over.
type HostPorts struct {
	mu  sync.Mutex
	of  map[string][]Mapping
	nft knftables.Interface
}

// Note adds the ports of a sandbox without writing the rules.
func (p *HostPorts) Note(sandbox string, ports []Mapping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[string][]Mapping{}
	}
	p.of[sandbox] = ports
}

// Open adds the ports of a sandbox.
func (p *HostPorts) Open(ctx context.Context, sandbox string, ports []Mapping) error {
	p.Note(sandbox, ports)
	err := p.Write(ctx)
	if err == nil {
		err = forgetDatagrams(ports)
	}
	if err != nil {
		return fmt.Errorf("opening host ports: %w", err)
	}
	return nil
}

// Close removes the ports of a sandbox.
func (p *HostPorts) Close(ctx context.Context, sandbox string) error {
	p.mu.Lock()
	ports, known := p.of[sandbox]
	delete(p.of, sandbox)
	p.mu.Unlock()
	if !known {
		return nil
	}
	err := p.Write(ctx)
	if err == nil {
		err = forgetDatagrams(ports)
	}
	if err != nil {
		return fmt.Errorf("closing host ports: %w", err)
	}
	return nil
}

// Write replaces the rules by those of the ports known now.
func (p *HostPorts) Write(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nft == nil {
		nft, err := knftables.New(knftables.IPv4Family, table)
		if err != nil {
			return fmt.Errorf("%w; host ports need the program nft of the package nftables", err)
		}
		p.nft = nft
	}
	tx := p.nft.NewTransaction()
	// Added before it is deleted: deleting what is not there fails.
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	if len(p.of) > 0 {
		rules(tx, slices.Concat(slices.Collect(maps.Values(p.of))...))
	}
	return p.nft.Run(ctx, tx)
}

// rules writes the table. Packets for the node come in from pods and from the
// node itself; a pod that reaches itself is to answer by way of the node.
func rules(tx *knftables.Transaction, ports []Mapping) {
	// Those of one address go before those of all.
	slices.SortStableFunc(ports, func(a, b Mapping) int {
		return cmp.Compare(fromBool(a.HostIP.IsValid()), fromBool(b.HostIP.IsValid()))
	})
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("host ports of pods")})
	tx.Add(&knftables.Chain{Name: "ports"})
	for name, hook := range map[string]knftables.BaseChainHook{"prerouting": knftables.PreroutingHook, "output": knftables.OutputHook} {
		tx.Add(&knftables.Chain{Name: name, Type: knftables.PtrTo(knftables.NATType), Hook: knftables.PtrTo(hook), Priority: knftables.PtrTo(knftables.DNATPriority)})
		tx.Add(&knftables.Rule{Chain: name, Rule: "fib daddr type local jump ports"})
	}
	tx.Add(&knftables.Chain{Name: "postrouting", Type: knftables.PtrTo(knftables.NATType), Hook: knftables.PtrTo(knftables.PostroutingHook), Priority: knftables.PtrTo(knftables.SNATPriority)})
	for _, m := range ports {
		at := ""
		if m.HostIP.IsValid() {
			at = "ip daddr " + m.HostIP.String() + " "
		}
		tx.Add(&knftables.Rule{Chain: "ports", Rule: fmt.Sprintf("%s%s dport %d dnat to %s:%d", at, m.Protocol, m.HostPort, m.PodIP, m.PodPort)})
		tx.Add(&knftables.Rule{Chain: "postrouting", Rule: fmt.Sprintf("ct status dnat ip saddr %s ip daddr %[1]s %s dport %d masquerade", m.PodIP, m.Protocol, m.PodPort)})
	}
}

// fromBool sorts what is true to the front.
func fromBool(b bool) int {
	if b {
		return 0
	}
	return 1
}

// forgetDatagrams makes the kernel look up the rules anew for UDP senders that
// never pause: it would go on with what it found for their first datagram.
func forgetDatagrams(ports []Mapping) error {
	for _, m := range ports {
		if m.Protocol != "udp" {
			continue
		}
		filter := &netlink.ConntrackFilter{}
		if err := filter.AddProtocol(unix.IPPROTO_UDP); err != nil {
			return err
		}
		if err := filter.AddPort(netlink.ConntrackOrigDstPort, m.HostPort); err != nil {
			return err
		}
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter); err != nil {
			return fmt.Errorf("forgetting old senders to UDP port %d: %w", m.HostPort, err)
		}
	}
	return nil
}
