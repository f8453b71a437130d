// Package dns runs CoreDNS in this process: the cluster's own names from the
// API, everything else from the network stack's resolver, which asks the
// host's servers and follows their changes.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	"github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"

	"github.com/mlstudio/studio/localcluster/network"
)

// Config is what Run needs.
type Config struct {
	// Kubeconfig of an identity that may watch Services, EndpointSlices and namespaces.
	Kubeconfig string
	// Listen is where it answers, by UDP and TCP.
	Listen netip.AddrPort
	// Upstream is asked for names outside the cluster.
	Upstream netip.AddrPort
}

// Run answers until ctx ends; it calls ready once it does.
func Run(ctx context.Context, c Config, ready func()) error {
	if err := register(); err != nil {
		return fmt.Errorf("setting up CoreDNS: %w", err)
	}
	instance, err := caddy.Start(caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(corefile(c)), ServerTypeName: "dns"})
	if err != nil {
		return fmt.Errorf("starting CoreDNS: %w", err)
	}
	ready()
	<-ctx.Done()
	errs := instance.ShutdownCallbacks()
	return errors.Join(append(errs, instance.Stop())...)
}

// clusterDirective is the cluster's names in the Corefile.
const clusterDirective = "studio_cluster"

var registered bool

// register makes CoreDNS know the plugins that are used, in their order.
func register() error {
	if registered {
		return nil
	}
	registered = true
	caddy.Quiet, dnsserver.Quiet = true, true
	plugin.Register(clusterDirective, setupCluster)
	return dnsserver.SetDirectives([]string{"bind", "errors", "cache", "loadbalance", clusterDirective, "forward"})
}

// setupCluster is the set-up of upstream's plugin "kubernetes" but for one
// step: that one sends all of klog's lines, the kubelet's too, to CoreDNS's log.
func setupCluster(c *caddy.Controller) error {
	c.Next()
	k, err := kubernetes.ParseStanza(c)
	if err != nil {
		return plugin.Error(clusterDirective, err)
	}
	start, stop, err := k.InitKubeCache(context.Background())
	if err != nil {
		return plugin.Error(clusterDirective, err)
	}
	c.OnStartup(start)
	c.OnShutdown(stop)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		k.Next = next
		return k
	})
	return nil
}

// corefile has no health or metrics servers, which nobody would ask, and no
// detection of loops, which ends the process: the upstream asks from the host's
// network, from which no way leads back. Names of the cluster are not cached: a
// Service is found the moment it is made.
func corefile(c Config) string {
	return fmt.Sprintf(`.:%s {
	bind %s
	errors
	%s %s in-addr.arpa ip6.arpa {
		kubeconfig %s
		pods insecure
		fallthrough in-addr.arpa ip6.arpa
	}
	forward . %s {
		max_concurrent 1000
		max_fails 0
	}
	cache 30 {
		disable success %[4]s
		disable denial %[4]s
	}
	loadbalance
}
`, strconv.Itoa(int(c.Listen.Port())), c.Listen.Addr(), clusterDirective, network.ClusterDomain, strconv.Quote(c.Kubeconfig), c.Upstream)
}
