package netstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/mlstudio/studio/localcluster/forward"
)

const (
	dnsPort = 53
	// dnsTimeout is how long one server may take before the next is asked; a
	// lost datagram gives no event.
	dnsTimeout = 2 * time.Second
)

// serveDNS answers at the address by asking the host's servers,
// from the host's side, where also a resolver on loopback can be reached.
func (h *hostSide) serveDNS(address netip.Addr) error {
	at := fullAddress(address, dnsPort)
	datagrams, err := gonet.DialUDP(h.stack, &at, nil, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("serving DNS: %w", err)
	}
	streams, err := gonet.ListenTCP(h.stack, at, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("serving DNS: %w", err)
	}
	go h.datagrams(datagrams)
	go forward.Accept(h.ctx, streams, h.dialDNS, h.config.Log)
	context.AfterFunc(h.ctx, func() { datagrams.Close() })
	return nil
}

func (h *hostSide) datagrams(c net.PacketConn) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buffer)
		if err != nil {
			return
		}
		query := append([]byte(nil), buffer[:n]...)
		go func() {
			if answer := h.resolve(query); answer != nil {
				c.WriteTo(answer, from)
			}
		}()
	}
}

// resolve asks one server after the other; without an answer it makes one that
// says so, since a silent server costs the client many seconds.
func (h *hostSide) resolve(query []byte) []byte {
	const header = 12
	if len(query) < header {
		return nil
	}
	for _, server := range h.servers() {
		answer, err := askDNS(h.ctx, server, query)
		if err == nil {
			return answer
		}
		h.config.Log.Debug("asking a DNS server", "server", server, "error", err)
	}
	// The query with the bits "response" and "server failure" set.
	query[2] |= 0x80
	query[3] = query[3]&0xf0 | 2
	return query
}

func askDNS(ctx context.Context, server string, query []byte) ([]byte, error) {
	d := net.Dialer{Timeout: dnsTimeout}
	c, err := d.DialContext(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(dnsTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	for answer := make([]byte, 1<<16); ; {
		n, err := c.Read(answer)
		if err != nil {
			return nil, err
		}
		if n >= 2 && answer[0] == query[0] && answer[1] == query[1] {
			return answer[:n], nil
		}
	}
}

// dialDNS opens a stream to the first server that takes one.
func (h *hostSide) dialDNS(ctx context.Context) (net.Conn, error) {
	err := errors.New("the host names no DNS server")
	for _, server := range h.servers() {
		d := net.Dialer{Timeout: dnsTimeout}
		var c net.Conn
		if c, err = d.DialContext(ctx, "tcp", server); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// servers reads the host's file for each question: small, and never stale
// when the laptop moves to another network.
func (h *hostSide) servers() []string {
	f, err := os.Open(h.config.ResolvConf)
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseServers(f)
}

// parseServers returns the addresses of a resolv.conf with DNS's port.
func parseServers(r io.Reader) []string {
	var servers []string
	for s := bufio.NewScanner(r); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, dnsPort).String())
		}
	}
	return servers
}
