// Package network holds the cluster's address ranges: chosen once so that they
// meet none of the host's routes, then kept, because Services and pods keep
// their addresses over restarts.
package network

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// APIAddress is where pods and the kubelet find the API server inside the
// node's network namespace: an address of the range that RFC 5737 keeps free
// for documentation, so no real network has it.
const APIAddress = "192.0.2.1"

// NodeName is the name of the one node.
const NodeName = "studio"

// APIPort is the API server's port at APIAddress.
const APIPort = 6443

// MetricsPort is where the node tells what pods use, at the node's own address.
const MetricsPort = 10258

// ClusterDomain is the domain of the cluster's names.
const ClusterDomain = "cluster.local"

// DNSServer is where the cluster's DNS answers inside the node's network. Pods
// ask its Service; port 53 stays free for a pod in the node's network.
var DNSServer = netip.MustParseAddrPort("192.0.2.10:10053")

// Nameserver answers DNS inside the node's network with what the host's
// resolvers say.
var Nameserver = netip.MustParseAddr("192.0.2.53")

// Network is what network.json holds.
type Network struct {
	PodCIDR     netip.Prefix `json:"podCIDR"`
	ServiceCIDR netip.Prefix `json:"serviceCIDR"`
	APIAddress  netip.Addr   `json:"apiAddress"`
}

// candidates are tried in order; the first pair is what kubeadm users know.
var candidates = []struct{ pod, service string }{
	{"10.244.0.0/16", "10.96.0.0/16"},
	{"10.190.0.0/16", "10.191.0.0/16"},
	{"172.30.0.0/16", "172.31.0.0/16"},
	{"100.100.0.0/16", "100.101.0.0/16"},
	{"192.168.224.0/20", "192.168.240.0/20"},
	{"198.18.0.0/16", "198.19.0.0/16"},
}

// APIService is the address of the Service default/kubernetes.
func (n Network) APIService() netip.Addr { return n.ServiceCIDR.Masked().Addr().Next() }

// DNS is the address of the cluster's DNS Service, the tenth by custom.
func (n Network) DNS() netip.Addr {
	a := n.ServiceCIDR.Masked().Addr()
	for range 10 {
		a = a.Next()
	}
	return a
}

// Gateway is the node's own address and the pods' way out.
func (n Network) Gateway() netip.Addr { return n.PodCIDR.Masked().Addr().Next() }

// Choose picks ranges that overlap none of the used ones.
func Choose(used []netip.Prefix) (Network, error) {
	for _, c := range candidates {
		n := Network{PodCIDR: netip.MustParsePrefix(c.pod), ServiceCIDR: netip.MustParsePrefix(c.service), APIAddress: netip.MustParseAddr(APIAddress)}
		if !overlaps(n.PodCIDR, used) && !overlaps(n.ServiceCIDR, used) {
			return n, nil
		}
	}
	return Network{}, errors.New("choosing the cluster's addresses: every range that Studio knows is in use by this machine's routes; write podCIDR and serviceCIDR of your own into network.json in the data directory")
}

func overlaps(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Overlaps(p) {
			return true
		}
	}
	return false
}

// Ensure reads network.json or chooses and writes it.
func Ensure(d datadir.Dir) (Network, error) {
	n, err := Load(d)
	if !errors.Is(err, os.ErrNotExist) {
		return n, err
	}
	routes, err := hostRoutes()
	if err != nil {
		return Network{}, err
	}
	if n, err = Choose(routes); err != nil {
		return Network{}, err
	}
	raw, err := json.Marshal(n)
	if err != nil {
		return Network{}, err
	}
	return n, datadir.WriteFile(d.Network(), append(raw, '\n'), 0o600)
}

// Load reads network.json.
func Load(d datadir.Dir) (Network, error) {
	var n Network
	raw, err := os.ReadFile(d.Network())
	if err != nil {
		return n, fmt.Errorf("reading the cluster's addresses: %w", err)
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		return n, fmt.Errorf("reading the cluster's addresses: %s: %w; restore the file, since Services keep addresses of these ranges", d.Network(), err)
	}
	if !n.PodCIDR.IsValid() || !n.ServiceCIDR.IsValid() || !n.APIAddress.IsValid() {
		return n, fmt.Errorf("reading the cluster's addresses: %s lacks podCIDR, serviceCIDR or apiAddress", d.Network())
	}
	return n, nil
}

// Overlaps names the host's routes that a range of the cluster hides from pods:
// a private network that was joined after the ranges were chosen.
func (n Network) Overlaps() ([]netip.Prefix, error) {
	routes, err := hostRoutes()
	if err != nil {
		return nil, err
	}
	var hidden []netip.Prefix
	for _, r := range routes {
		if overlaps(n.PodCIDR, []netip.Prefix{r}) || overlaps(n.ServiceCIDR, []netip.Prefix{r}) {
			hidden = append(hidden, r)
		}
	}
	return hidden, nil
}

// hostRoutes reads the kernel's IPv4 routes without the default one.
func hostRoutes() ([]netip.Prefix, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("reading this machine's routes: %w", err)
	}
	defer f.Close()
	return parseRoutes(bufio.NewScanner(f))
}

// parseRoutes understands /proc/net/route: destination and mask are little
// endian hexadecimal in columns 2 and 8.
func parseRoutes(s *bufio.Scanner) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 8 || f[0] == "Iface" {
			continue
		}
		dst, err1 := hex.DecodeString(f[1])
		mask, err2 := hex.DecodeString(f[7])
		if err1 != nil || err2 != nil || len(dst) != 4 || len(mask) != 4 {
			return nil, fmt.Errorf("reading this machine's routes: unexpected line %q", s.Text())
		}
		bits := 0
		for _, b := range mask {
			for ; b != 0; b &= b - 1 {
				bits++
			}
		}
		if bits > 0 {
			routes = append(routes, netip.PrefixFrom(netip.AddrFrom4([4]byte{dst[3], dst[2], dst[1], dst[0]}), bits).Masked())
		}
	}
	return routes, s.Err()
}
