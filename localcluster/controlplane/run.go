package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster/forward"
	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/node/services"
)

// Run serves until ctx ends, then shuts down in order: controllers, API
// server, store. It tells its phases: certificates, store, api (it answers) and
// bootstrap (what the API server itself makes at its start is there).
func Run(ctx context.Context, c Config) error {
	quietLogs(c.Log)
	net, err := network.Ensure(c.Dir)
	if err != nil {
		return err
	}
	if err := c.Dir.LockControlPlane(ctx); err != nil {
		return err
	}
	port, err := EnsurePort(ctx, c.Dir)
	if err != nil {
		return err
	}
	f := files{dir: c.Dir, net: net, port: port}
	done := c.Notify.Phase("certificates")
	err = issue(f)
	if err == nil {
		err = writeEgress(f)
	}
	if done(err); err != nil {
		return err
	}

	// The store outlives the API server, which outlives the controllers.
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	var storeEnd sync.WaitGroup
	defer storeEnd.Wait()
	defer stopStore()
	done = c.Notify.Phase("store")
	err = f.state(synchronous(c)).start(storeCtx, &storeEnd)
	if err == nil && !c.Bare {
		err = f.transient().start(storeCtx, &storeEnd)
	}
	if done(err); err != nil {
		return err
	}
	return serve(ctx, c, f)
}

func synchronous(c Config) string {
	if c.Synchronous == "" {
		return "FULL"
	}
	return c.Synchronous
}

func serve(ctx context.Context, c Config, f files) error {
	apiCtx, stopAPI := context.WithCancel(context.WithoutCancel(ctx))
	controllersCtx, stopControllers := context.WithCancel(ctx)
	defer stopControllers()
	done := c.Notify.Phase("api")
	runAPI, err := prepareAPIServer(apiCtx, f, c.Bare)
	if err != nil {
		stopAPI()
		done(err)
		return err
	}
	apiEnd := make(chan error, 1)
	go func() {
		apiEnd <- ended(apiCtx, "API server", runAPI(apiCtx))
		stopControllers()
	}()
	err = waitReady(controllersCtx, f.controllerKubeconfig(), answering)
	if err == nil {
		err = forward.Serve(apiCtx, c.Dir.APISocket(), fmt.Sprintf("127.0.0.1:%d", f.port), c.Log)
	}
	if err != nil {
		stopAPI()
		// What ended the API server says more than that it did not become ready.
		err = errors.Join(<-apiEnd, err)
		done(err)
		return err
	}
	done(nil)
	// What the start allocated is garbage once the caches are full; the heap is
	// given back then, not over the next minutes.
	trim := time.AfterFunc(20*time.Second, debug.FreeOSMemory)
	defer trim.Stop()

	var parts sync.WaitGroup
	errs := make(chan error, 3)
	if !c.Bare {
		for _, run := range []func(context.Context, files) error{runControllerManager, runScheduler} {
			parts.Go(func() {
				if err := run(controllersCtx, f); err != nil {
					errs <- err
					stopControllers()
				}
			})
		}
	}
	parts.Go(func() {
		done := c.Notify.Phase("bootstrap")
		cs, err := f.client()
		if err == nil && !c.Bare {
			if err = makeDefaults(controllersCtx, cs, f.net); err == nil {
				err = registerMetrics(controllersCtx, f)
			}
		}
		if err == nil {
			err = waitReady(controllersCtx, f.controllerKubeconfig(), "/readyz")
		}
		if controllersCtx.Err() == nil {
			done(err)
		}
		if err == nil && !c.Bare {
			services.Keep(controllersCtx, cs, f.net, c.Log)
		}
	})
	<-controllersCtx.Done()
	parts.Wait()
	stopAPI()
	select {
	case err := <-apiEnd:
		errs <- err
	case <-time.After(drain):
		// Somebody follows a log, which upstream would wait a minute for. What was
		// acknowledged is in the store.
	}
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// drain is how long requests under way may take when the API server ends.
const drain = 2 * time.Second

// answering is the probe of an API server that answers its own components. Two
// hooks that make default objects are left out: one of them sleeps a second
// when it comes too early, and nothing that starts meanwhile needs them.
const answering = "/readyz?exclude=poststarthook/scheduling/bootstrap-system-priority-classes&exclude=poststarthook/rbac/bootstrap-roles"

// waitReady returns when the API server's probe at path says yes.
func waitReady(ctx context.Context, kubeconfig, path string) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	// The API server has no event for "ready" that its Run lets out: its own
	// probe is asked, often, for the seconds of a start.
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Host+path, nil)
		if err != nil {
			return err
		}
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
