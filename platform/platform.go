// Package platform hosts the pillars: it installs what they need into the cluster
// and runs their controllers in one process. It speaks only to the Kubernetes API
// and does not know what kind of cluster it is on.
package platform

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
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

// Phases that Run reports.
const (
	PhaseCRDs        = "crds"
	PhaseControllers = "controllers"
)

// Notifier is told how far the platform is: package localcluster/notify has one.
type Notifier interface {
	// Phase tells that a phase starts and returns what ends it.
	Phase(name string) func(error)
}

// Config is how to run the platform.
type Config struct {
	REST    *rest.Config
	Pillars []pillar.Pillar
	Notify  Notifier
	Log     *slog.Logger
	// MetricsAddr and HealthAddr are host:port to listen on; empty for none.
	MetricsAddr, HealthAddr string
	// LeaderElection is for clusters where two platforms may overlap.
	LeaderElection bool
}

// Run installs and runs everything until ctx ends. It returns nil then.
func Run(ctx context.Context, c Config) error {
	log := logr.FromSlogHandler(c.Log.Handler())
	ctrl.SetLogger(log)
	klog.SetLogger(log)

	done := c.Notify.Phase(PhaseCRDs)
	scheme, err := newScheme(c.Pillars)
	if err != nil {
		return fail(done, err)
	}
	// The API server's own priority and fairness limits clients better than a
	// rate that is guessed here.
	c.REST = rest.CopyConfig(c.REST)
	c.REST.QPS, c.REST.UserAgent = -1, "studio-platform"
	c.REST.Wrap(impatient)
	hc, err := rest.HTTPClientFor(c.REST)
	if err != nil {
		return fail(done, fmt.Errorf("making the API client: %w", err))
	}
	mapper := newMapper(scheme)
	direct, err := client.NewWithWatch(c.REST, client.Options{HTTPClient: hc, Scheme: scheme, Mapper: mapper})
	if err != nil {
		return fail(done, fmt.Errorf("making the API client: %w", err))
	}
	in := &install.Installer{Client: direct, Log: c.Log}
	var crds []string
	objects := []fs.FS{assets.Platform}
	for _, p := range c.Pillars {
		crds = append(crds, p.CRDs()...)
		objects = append(objects, p.Objects())
	}
	if err := in.CRDs(ctx, assets.CRDs, crds); err != nil {
		return fail(done, err)
	}
	done(nil)

	done = c.Notify.Phase(PhaseControllers)
	cached, err := cachedKinds(c.Pillars)
	if err != nil {
		return fail(done, err)
	}
	mgr, err := ctrl.NewManager(c.REST, ctrl.Options{
		Scheme: scheme,
		Cache: cache.Options{
			ByObject:         cached,
			DefaultTransform: cache.TransformStripManagedFields(),
			// Nothing is resynced: controllers react to events only.
			SyncPeriod:                  nil,
			ReaderFailOnMissingInformer: true,
		},
		Client:                 client.Options{HTTPClient: hc, Cache: &client.CacheOptions{DisableFor: uncached(scheme, cached)}},
		MapperProvider:         mapperProvider(mapper),
		Metrics:                metricsserver.Options{BindAddress: orOff(c.MetricsAddr)},
		HealthProbeBindAddress: orOff(c.HealthAddr),
		LeaderElection:         c.LeaderElection,
		LeaderElectionID:       "studio-platform.mlstudio.dev",
		// The process ends right after Run; the lease must not outlive it.
		LeaderElectionReleaseOnCancel: true,
		LeaderElectionNamespace:       "kubeflow-system",
		// Tests run several platforms in one process.
		Controller: config.Controller{SkipNameValidation: new(true)},
		Logger:     log,
	})
	if err != nil {
		return fail(done, fmt.Errorf("making the controllers: %w", err))
	}
	recorder, err := events.New(ctx, c.REST, hc, scheme, "studio-platform")
	if err != nil {
		return fail(done, err)
	}
	for _, p := range c.Pillars {
		if err := p.Setup(ctx, pillar.Host{Manager: mgr, Events: recorder}); err != nil {
			return fail(done, fmt.Errorf("setting up %s: %w", p.Name(), err))
		}
	}
	synced := make(chan struct{})
	if err := mgr.Add(afterCaches(func(ctx context.Context) error {
		for obj := range cached {
			if _, err := mgr.GetCache().GetInformer(ctx, obj, cache.BlockUntilSynced(true)); err != nil {
				return err
			}
		}
		close(synced)
		return nil
	})); err != nil {
		return fail(done, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return mgr.Start(gctx) })
	g.Go(func() error {
		if err := in.Objects(gctx, objects...); err != nil {
			return fail(done, err)
		}
		select {
		case <-synced:
			done(nil)
			c.Log.Info("controllers are ready")
		case <-gctx.Done():
		}
		return nil
	})
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// afterCaches is run by the manager when its caches have started, whether or not
// it leads.
type afterCaches func(context.Context) error

// Start runs it.
func (f afterCaches) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection: no.
func (afterCaches) NeedLeaderElection() bool { return false }

func fail(done func(error), err error) error {
	done(err)
	return err
}

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
