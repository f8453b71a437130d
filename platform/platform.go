// Package platform hosts the pillars: it installs what they need into the cluster
// and runs their controllers in one process. It speaks only to the Kubernetes API
// and does not know what kind of cluster it is on.
package platform

import (
	"context"
	"log/slog"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

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
	h, err := newHost(c)
	if err == nil {
		err = h.reachable(ctx)
	}
	if err == nil {
		err = h.installCRDs(ctx)
	}
	if done(err); err != nil {
		return err
	}
	done = c.Notify.Phase(PhaseControllers)
	synced, err := h.setup(ctx)
	if err != nil {
		done(err)
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.manager.Start(gctx) })
	g.Go(func() error {
		if err := h.installObjects(gctx); err != nil {
			done(err)
			return err
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
