package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/mlstudio/studio/assets"
	"github.com/mlstudio/studio/platform/events"
	"github.com/mlstudio/studio/platform/install"
	"github.com/mlstudio/studio/platform/pillar"
)

// host is one run of the platform in the making.
type host struct {
	Config
	scheme  *runtime.Scheme
	mapper  meta.RESTMapper
	http    *http.Client
	install *install.Installer
	manager ctrl.Manager
}

func newHost(c Config) (*host, error) {
	scheme, err := newScheme(c.Pillars)
	if err != nil {
		return nil, err
	}
	// The API server's own priority and fairness limits clients better than a
	// rate that is guessed here.
	c.REST = rest.CopyConfig(c.REST)
	c.REST.QPS, c.REST.UserAgent = -1, "studio-platform"
	c.REST.Wrap(impatient)
	h := &host{Config: c, scheme: scheme, mapper: newMapper(scheme)}
	if h.http, err = rest.HTTPClientFor(c.REST); err != nil {
		return nil, fmt.Errorf("making the API client: %w", err)
	}
	direct, err := client.NewWithWatch(c.REST, client.Options{HTTPClient: h.http, Scheme: scheme, Mapper: h.mapper})
	if err != nil {
		return nil, fmt.Errorf("making the API client: %w", err)
	}
	h.install = &install.Installer{Client: direct, Log: c.Log}
	return h, nil
}

// reachable waits until the API server answers, whatever it says.
func (h *host) reachable(ctx context.Context) error {
	server, _, err := rest.DefaultServerUrlFor(h.REST)
	if err != nil {
		return fmt.Errorf("reading the API server's address: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.JoinPath("version").String(), nil)
	if err != nil {
		return err
	}
	for said := false; ; {
		resp, err := h.http.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for the API server: %w", errors.Join(ctx.Err(), err))
		}
		if !said {
			h.Log.Info("waiting for the API server", "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
		// A timer, since nothing tells that somebody has begun to listen.
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (h *host) installCRDs(ctx context.Context) error {
	var files []string
	for _, p := range h.Pillars {
		files = append(files, p.CRDs()...)
	}
	return h.install.CRDs(ctx, assets.CRDs, files)
}

func (h *host) installObjects(ctx context.Context) error {
	trees := []fs.FS{assets.Platform}
	for _, p := range h.Pillars {
		trees = append(trees, p.Objects())
	}
	return h.install.Objects(ctx, trees...)
}

// setup makes the manager with everybody's controllers. The channel is closed
// when the manager's caches are full.
func (h *host) setup(ctx context.Context) (synced <-chan struct{}, err error) {
	cached, err := cachedKinds(h.Pillars)
	if err != nil {
		return nil, err
	}
	h.manager, err = ctrl.NewManager(h.REST, ctrl.Options{
		Scheme: h.scheme,
		Cache: cache.Options{
			ByObject:         cached,
			DefaultTransform: cache.TransformStripManagedFields(),
			// Nothing is resynced: controllers react to events only.
			SyncPeriod:                  nil,
			ReaderFailOnMissingInformer: true,
		},
		Client:                 client.Options{HTTPClient: h.http, Cache: &client.CacheOptions{DisableFor: uncached(h.scheme, cached)}},
		MapperProvider:         func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return h.mapper, nil },
		Metrics:                metricsserver.Options{BindAddress: orOff(h.MetricsAddr)},
		HealthProbeBindAddress: orOff(h.HealthAddr),
		LeaderElection:         h.LeaderElection,
		LeaderElectionID:       "studio-platform.mlstudio.dev",
		// The process ends right after Run; the lease must not outlive it.
		LeaderElectionReleaseOnCancel: true,
		LeaderElectionNamespace:       "kubeflow-system",
		Controller: config.Controller{
			// Objects do not wait for each other's API calls.
			MaxConcurrentReconciles: 4,
			// Tests run several platforms in one process.
			SkipNameValidation: new(true),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the controllers: %w", err)
	}
	recorder, err := events.New(ctx, h.REST, h.http, h.scheme, "studio-platform")
	if err != nil {
		return nil, err
	}
	for _, p := range h.Pillars {
		if err := p.Setup(ctx, pillar.Host{Manager: h.manager, Events: recorder}); err != nil {
			return nil, fmt.Errorf("setting up %s: %w", p.Name(), err)
		}
	}
	full := make(chan struct{})
	return full, h.manager.Add(afterCaches(func(ctx context.Context) error {
		for obj := range cached {
			if _, err := h.manager.GetCache().GetInformer(ctx, obj, cache.BlockUntilSynced(true)); err != nil {
				return err
			}
		}
		close(full)
		return nil
	}))
}

// afterCaches is run by the manager when its caches have started, whether or not
// it leads.
type afterCaches func(context.Context) error

// Start runs it.
func (f afterCaches) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection: no.
func (afterCaches) NeedLeaderElection() bool { return false }

func orOff(addr string) string {
	if addr == "" {
		return "0"
	}
	return addr
}

// cachedKinds joins what the pillars watch. Two pillars that watch one kind must
// agree on how much of it.
func cachedKinds(pillars []pillar.Pillar) (map[client.Object]cache.ByObject, error) {
	all, by := map[client.Object]cache.ByObject{}, map[string]string{}
	for _, p := range pillars {
		for obj, how := range p.Cached() {
			kind := fmt.Sprintf("%T", obj)
			if other, ok := by[kind]; ok {
				return nil, fmt.Errorf("pillars %s and %s both watch %s", other, p.Name(), kind)
			}
			by[kind] = p.Name()
			all[obj] = how
		}
	}
	return all, nil
}

// uncached lists the kinds that are read from the API server each time: all that
// no pillar watches, so that a read never starts a watch by accident.
func uncached(scheme *runtime.Scheme, cached map[client.Object]cache.ByObject) []client.Object {
	watched := map[string]bool{}
	for obj := range cached {
		watched[fmt.Sprintf("%T", obj)] = true
	}
	var list []client.Object
	for gvk := range scheme.AllKnownTypes() {
		obj, err := scheme.New(gvk)
		if err != nil || gvk.Group == metav1.GroupName {
			continue
		}
		if o, ok := obj.(client.Object); ok && !watched[fmt.Sprintf("%T", obj)] {
			list = append(list, o)
		}
	}
	return list
}
