// Package proxy runs upstream's kube-proxy in this process: it turns Services
// into nftables rules of the node's network namespace. It puts upstream's
// server together itself and calls its Run, since the command does what the
// node must not: it sets sysctls of the machine, serves metrics, watches the
// node, ends the process, and handles IPv6, which the node does not have.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
	kubeproxyconfig "k8s.io/kubernetes/pkg/proxy/apis/config"
	proxyscheme "k8s.io/kubernetes/pkg/proxy/apis/config/scheme"
	"k8s.io/kubernetes/pkg/proxy/nftables"
	proxyutil "k8s.io/kubernetes/pkg/proxy/util"
	"k8s.io/utils/ptr"

	"github.com/mlstudio/studio/localcluster/network"
)

// Program is what writes the rules; the Debian package nftables has it.
const Program = "nft"

const (
	// minSync is the shortest time between two writes of the rules: each starts
	// a program, and a pod that becomes ready should be reached at once.
	minSync = 200 * time.Millisecond
	// retry is how long a write that failed waits for the next one.
	retry = 30 * time.Second
	// masqueradeBit of a packet's mark says that its source is to be replaced.
	masqueradeBit = 14
)

// Config is what Run needs.
type Config struct {
	// Kubeconfig of an identity that may watch Services and EndpointSlices.
	Kubeconfig string
	Net        network.Network
}

// Run keeps the rules until ctx ends; it calls ready once they hold all Services
// of the start. The rules stay, so that connections and Services go on while the
// node half is away.
func Run(ctx context.Context, c Config, ready func()) error {
	if _, err := exec.LookPath(Program); err != nil {
		return fmt.Errorf("running kube-proxy: %w; install the package nftables", err)
	}
	server, err := newServer(ctx, c, ready)
	if err != nil {
		return fmt.Errorf("setting up kube-proxy: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	// Upstream's Run does not end with its context; the process soon will.
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		if err == nil {
			err = errors.New("it ended by itself")
		}
		return fmt.Errorf("running kube-proxy: %w", err)
	}
}

func newServer(ctx context.Context, c Config, ready func()) (*app.ProxyServer, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading its credentials: %w", err)
	}
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	settings := configure(c.Net)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	recorder := broadcaster.NewRecorder(proxyscheme.Scheme, "kube-proxy")
	pods := proxyutil.NewDetectLocalByCIDR(c.Net.PodCIDR.String())
	proxier, err := nftables.NewProxier(ctx, settings, v1.IPv4Protocol, pods, network.NodeName, c.Net.Gateway().AsSlice(), recorder, nil, false)
	if err != nil {
		return nil, err
	}
	return &app.ProxyServer{
		Config: settings, Client: client, Broadcaster: broadcaster, Recorder: recorder,
		// The kubelet names the node in place of its UID, too: `kubectl describe node` looks for that.
		NodeRef:  &v1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: network.NodeName, UID: network.NodeName},
		NodeName: network.NodeName, PrimaryIPFamily: v1.IPv4Protocol,
		Proxier: &watched{Proxier: proxier, ready: ready},
	}, nil
}

// watched tells when the rules are written for the first time: upstream does so
// in the later one of these two calls.
type watched struct {
	*nftables.Proxier
	ready func()

	mu     sync.Mutex
	synced int
}

func (w *watched) OnServiceSynced() {
	w.Proxier.OnServiceSynced()
	w.count()
}

func (w *watched) OnEndpointSlicesSynced() {
	w.Proxier.OnEndpointSlicesSynced()
	w.count()
}

func (w *watched) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.synced++; w.synced == 2 {
		w.ready()
	}
}

// configure returns what the parts of kube-proxy that run here read.
func configure(n network.Network) *kubeproxyconfig.KubeProxyConfiguration {
	k := &kubeproxyconfig.KubeProxyConfiguration{
		Mode:            kubeproxyconfig.ProxyModeNFTables,
		DetectLocalMode: kubeproxyconfig.LocalModeClusterCIDR,
		// NodePorts answer at the node's address, which only the node's network has.
		NodePortAddresses: []string{n.Gateway().String() + "/32"},
		SyncPeriod:        metav1.Duration{Duration: retry},
		MinSyncPeriod:     metav1.Duration{Duration: minSync},
		// Zero: informers do not go through all objects again.
		ConfigSyncPeriod: metav1.Duration{},
	}
	k.NFTables.MasqueradeBit = ptr.To[int32](masqueradeBit)
	return k
}
