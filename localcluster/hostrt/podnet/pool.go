package podnet

import (
	"fmt"
	"net/netip"
	"sync"
)

// Pool hands out the addresses of the pod CIDR. It keeps no file: the sandboxes
// on disk say which addresses are in use, and the caller takes those first.
type Pool struct {
	mu     sync.Mutex
	prefix netip.Prefix
	last   netip.Addr
	used   map[netip.Addr]bool
}

// NewPool makes a pool without the network's own address, the broadcast
// address and the reserved ones.
func NewPool(prefix netip.Prefix, reserved ...netip.Addr) *Pool {
	prefix = prefix.Masked()
	p := &Pool{prefix: prefix, last: prefix.Addr(), used: map[netip.Addr]bool{prefix.Addr(): true, broadcast(prefix): true}}
	for _, a := range reserved {
		p.used[a] = true
	}
	return p
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Take marks an address as used, so that it is not handed out.
func (p *Pool) Take(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used[a] = true
}

// Next hands out an address: the one after the last, so that an address rests
// for as long as possible before it names another pod.
func (p *Pool) Next() (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a := p.last.Next(); ; a = a.Next() {
		if !a.IsValid() || !p.prefix.Contains(a) {
			a = p.prefix.Addr()
		}
		if !p.used[a] {
			p.used[a] = true
			p.last = a
			return a, nil
		}
		if a == p.last {
			return netip.Addr{}, fmt.Errorf("no address is free in the pod network %s: delete pods that have ended", p.prefix)
		}
	}
}

// Release gives an address back.
func (p *Pool) Release(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, a)
}
