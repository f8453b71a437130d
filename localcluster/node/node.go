// Package node is the half of the engine that lives inside the node's
// namespaces: the container runtime, upstream's kubelet on it, kube-proxy and
// CoreDNS, and the provisioner of local volumes. It may end and start again at any time: pods go
// on meanwhile and are adopted.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/hostrt"
	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/machine"
	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/node/kubelet"
	"github.com/mlstudio/studio/localcluster/node/localpath"
	"github.com/mlstudio/studio/localcluster/node/metrics"
	"github.com/mlstudio/studio/localcluster/node/netpolicy"
	"github.com/mlstudio/studio/localcluster/notify"
	"github.com/mlstudio/studio/localcluster/projects"
)

// keptBudget bounds the files that containers left outside volumes.
const keptBudget = 1 << 30

// Config is what Run and Drain need.
type Config struct {
	Dir datadir.Dir
	// HolderID names this life of the namespaces.
	HolderID string
	// Programs is the folder of studio-shim.
	Programs string
	// Rootless: the node runs in a user namespace.
	Rootless bool
	// GroupsDir is where the pods' control group is seen, if there is one.
	GroupsDir string
	// OneID: a single user id is mapped into that namespace.
	OneID  bool
	Notify *notify.Notifier
	Log    *slog.Logger
}

// Run runs the node until ctx ends; pods go on.
func Run(ctx context.Context, c Config) error {
	net, err := network.Load(c.Dir)
	if err != nil {
		return err
	}
	own, err := client(c.Dir.NodeKubeconfig())
	if err != nil {
		return err
	}
	events := newRecorder(ctx, own)
	defer events.stop()
	done := c.Notify.Phase("runtime")
	runtime, err := newRuntime(c, net, events.pod)
	if done(err); err != nil {
		return err
	}
	services := filepath.Join(c.Dir.Node(), "services.kubeconfig")
	volumes, err := client(services)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ended(ctx, "the container runtime", runtime.Serve(ctx)) })
	share, err := machine.Own()
	if err != nil {
		return err
	}
	g.Go(func() error {
		return kubelet.Run(ctx, kubelet.Config{Dir: c.Dir, Net: net, Share: share, Labels: labels()})
	})
	g.Go(func() error {
		return ended(ctx, "the metrics", metrics.Serve(ctx, metrics.Config{
			Runtime: runtime, Address: netip.AddrPortFrom(net.Gateway(), network.MetricsPort).String(), PKI: c.Dir.NodePKI(), Labels: labels(), Log: c.Log,
		}))
	})
	g.Go(func() error {
		return ended(ctx, "the volume provisioner", localpath.Run(ctx, volumes, c.Dir))
	})
	g.Go(func() error { return runServices(ctx, c, net, volumes, services) })
	g.Go(func() error {
		return ended(ctx, "the watch for network policies", netpolicy.Report(ctx, volumes, events.warn))
	})
	if c.OneID {
		g.Go(func() error { return ended(ctx, "the watch for other users", warnOneID(ctx, own, events)) })
	}
	return g.Wait()
}

func newRuntime(c Config, net network.Network, events func(hostrt.Event)) (*hostrt.Server, error) {
	store, err := images.Open(c.Dir.Images())
	if err != nil {
		return nil, err
	}
	share, err := machine.Own()
	if err != nil {
		return nil, err
	}
	return hostrt.New(hostrt.Config{
		StateDir: c.Dir.Hostrt(), Socket: c.Dir.CRISocket(), FoldersDir: c.Dir.SystemFolders(),
		ShimPath:    filepath.Join(c.Programs, "studio-shim"),
		PodLogsRoot: "/var/log/pods",
		HolderID:    c.HolderID,
		PodCIDR:     net.PodCIDR, GatewayIP: net.Gateway(),
		Project: func(id string) (*projects.Project, error) { return projects.Load(c.Dir, id) },
		HomeDir: c.Dir.Home,
		Images:  store,
		Events:  events,
		KeptDir: c.Dir.Kept(), KeptBudget: keptBudget,
		AllowMount: allowMount(c.Dir),
		GroupsDir:  c.GroupsDir, Share: share,
		Rootless: c.Rootless, Log: c.Log,
	})
}

// allowMount keeps containers away from the engine's own folder, but for what
// the kubelet prepared for the same pod and for local volumes.
func allowMount(d datadir.Dir) func(path, podUID string) error {
	return func(path, podUID string) error {
		path = filepath.Clean(path)
		for _, open := range []string{filepath.Join(d.Kubelet(), "pods", podUID), d.Volumes()} {
			if strings.HasPrefix(path, open+"/") {
				return nil
			}
		}
		if path == d.String() || strings.HasPrefix(path, d.String()+"/") || strings.HasPrefix(d.String(), path+"/") || path == "/" {
			return fmt.Errorf("%s belongs to the engine, and pods may not mount it; use a persistent volume claim, or `studio run` in a project's folder", path)
		}
		return nil
	}
}

// labels say what the platform can count on here.
func labels() map[string]string {
	return map[string]string{
		// The in-pod helper is there already: no init container needs to bring it.
		"studio.mlstudio.dev/agent": "present",
	}
}

func client(kubeconfig string) (kubernetes.Interface, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the node's credentials: %w", err)
	}
	cfg.QPS, cfg.Burst = 200, 400
	return kubernetes.NewForConfig(cfg)
}

// ended turns the end of a part that was not asked to end into an error.
func ended(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("running %s: %w", what, err)
}
