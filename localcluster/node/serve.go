package node

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/node/dns"
	"github.com/mlstudio/studio/localcluster/node/proxy"
)

// dnsPort is where the network stack's resolver answers.
const dnsPort = 53

// runServices runs kube-proxy and the cluster's DNS until ctx ends.
func runServices(ctx context.Context, c Config, n network.Network, cs kubernetes.Interface, kubeconfig string) error {
	done := c.Notify.Phase("services")
	if err := waitAllowed(ctx, cs); err != nil {
		return nil // ctx ended.
	}
	var starting sync.WaitGroup
	starting.Add(2)
	go func() {
		starting.Wait()
		done(nil)
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return proxy.Run(ctx, proxy.Config{Kubeconfig: kubeconfig, Net: n}, starting.Done) })
	g.Go(func() error {
		upstream := netip.AddrPortFrom(network.Nameserver, dnsPort)
		return dns.Run(ctx, dns.Config{Kubeconfig: kubeconfig, Listen: network.DNSServer, Upstream: upstream}, starting.Done)
	})
	return g.Wait()
}

// waitAllowed returns when this node may read what Services are made of. In the
// first start of a cluster its role comes a moment later than the API, and a
// refused watch would be tried again only after a second or more. Roles give no
// event to whom they are not granted yet.
func waitAllowed(ctx context.Context, cs kubernetes.Interface) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := cs.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
