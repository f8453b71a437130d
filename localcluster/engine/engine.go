// Package engine is the supervisor: it owns the data directory, starts the
// control plane, the platform and the node, starts them again when they end,
// and tells everyone who asks how they are.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/cgroup"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/expose"
	holderclient "github.com/mlstudio/studio/localcluster/holder/client"
	"github.com/mlstudio/studio/localcluster/notify"
	"github.com/mlstudio/studio/version"
)

// The phases that other parts of this package wait for.
const (
	phaseCertificates = "certificates"
	phaseAPI          = "api"
	phaseBootstrap    = "bootstrap"
	phaseNode         = "node"
	phaseServices     = "services"
	phaseControllers  = "controllers"
)

// Config is what Serve needs.
type Config struct {
	Dir datadir.Dir
	Log *slog.Logger
	// Notify tells the parent that the engine listens.
	Notify *notify.Notifier
	// Executable is this program; studio-platform and studio-shim lie beside it.
	Executable string
	// Watch watches projects' folders.
	Watch WatchFunc
}

type engine struct {
	dir      datadir.Dir
	log      *slog.Logger
	exe      string
	hub      *hub
	launcher *launcher
	holder   *holderclient.Client
	watches  *watches
	exposed  *expose.Manager

	endOnce sync.Once
	ending  chan struct{}
	endPods bool
}

// Serve runs the engine until ctx ends or a client asks for its end. An error
// means that it could not start; what was started is ended again.
func Serve(ctx context.Context, c Config) error {
	done := c.Notify.Phase("engine")
	e, release, err := open(c)
	if done(err); err != nil {
		return err
	}
	defer release()
	exposeCtx, unexpose := context.WithCancel(context.WithoutCancel(ctx))
	defer unexpose()
	if e.exposed, err = e.openExposed(exposeCtx); err != nil {
		c.Notify.Send("engine", localcluster.Failed, err.Error(), 0)
		return err
	}
	stopListening, err := e.listen(context.WithoutCancel(ctx))
	if err != nil {
		c.Notify.Send("engine", localcluster.Failed, err.Error(), 0)
		return err
	}
	defer stopListening()
	c.Notify.Send("listening", localcluster.Done, "", 0)
	stop := context.AfterFunc(ctx, func() { e.requestEnd(false) })
	defer stop()
	return e.run(context.WithoutCancel(ctx))
}

func open(c Config) (*engine, func(), error) {
	release, err := c.Dir.Lock()
	if err != nil {
		return nil, nil, err
	}
	e := &engine{
		dir: c.Dir, log: c.Log, exe: c.Executable, launcher: newLauncher(),
		holder: holderclient.New(c.Dir), ending: make(chan struct{}),
		hub: newHub(client.State{Version: version.Version, PID: os.Getpid(), StartedAt: time.Now()}, phaseAPI, phaseBootstrap, phaseNode, phaseServices, phaseControllers),
	}
	e.watches = newWatches(c.Watch, e.hub)
	return e, release, nil
}

// requestEnd begins the end, once; the first word on the pods holds.
func (e *engine) requestEnd(pods bool) {
	e.endOnce.Do(func() {
		e.endPods = pods
		close(e.ending)
	})
}

// run starts everything and ends it in order: platform, node, control plane.
func (e *engine) run(ctx context.Context) error {
	start := time.Now()
	if err := e.forgetEarlierBoot(ctx); err != nil {
		return e.fail("engine", start, err)
	}
	failed := make(chan error, 4)
	part := func(name string, run func(context.Context) error) (end func()) {
		partCtx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := run(partCtx); err != nil {
				failed <- e.fail(name, start, err)
			}
		}()
		return func() { cancel(); <-ended }
	}
	endControlPlane := part("control plane", e.controlPlane().run)
	endNode := part(phaseNode, e.keepNode)
	endPlatform := part("platform", func(ctx context.Context) error {
		if e.hub.wait(ctx, phaseAPI) != nil {
			return nil
		}
		return e.platform().run(ctx)
	})
	endAwake := part("staying awake", e.keepAwake)
	var err error
	select {
	case <-e.ending:
	case err = <-failed:
		e.log.Error("the engine could not start", "error", err)
	}
	e.hub.update(func(s *client.State) { s.Stopping, s.Ready = true, false })
	endAwake()
	endPlatform()
	endNode()
	err = errors.Join(err, e.endNode(ctx, err != nil))
	endControlPlane()
	e.hub.event(localcluster.Event{Phase: "end", State: localcluster.Done})
	return err
}

// fail tells everyone that a phase failed and hands the error on.
func (e *engine) fail(phase string, start time.Time, err error) error {
	e.hub.event(localcluster.Event{Phase: phase, State: localcluster.Failed, Message: err.Error(), Seconds: time.Since(start).Seconds()})
	return err
}

func (e *engine) controlPlane() *child {
	return &child{
		name: "control-plane", path: e.exe, args: []string{"control-plane", "--data-dir", e.dir.String()},
		stderr: filepath.Join(e.dir.Logs(), "control-plane.err"), ready: phaseAPI,
		launcher: e.launcher, hub: e.hub, log: e.log,
	}
}

func (e *engine) platform() *child {
	return &child{
		name: "platform", path: filepath.Join(filepath.Dir(e.exe), "studio-platform"),
		args:   []string{"--kubeconfig", filepath.Join(e.dir.PKI(), "platform.kubeconfig"), "--log-file", e.dir.Log("platform")},
		env:    []string{datadir.Env + "=" + e.dir.String()},
		stderr: filepath.Join(e.dir.Logs(), "platform.err"), ready: phaseControllers,
		launcher: e.launcher, hub: e.hub, log: e.log,
	}
}

// endNode ends the node half, and with it the pods where that was asked for. A
// start that failed leaves no holder that it made for nothing.
func (e *engine) endNode(ctx context.Context, failedStart bool) error {
	status, err := e.holder.Status(ctx)
	if errors.Is(err, holderclient.ErrNotRunning) {
		return nil
	}
	phase, end := "stop", e.holder.StopNode
	if e.endPods || failedStart && err == nil && !status.Pods {
		phase, end = "down", func(ctx context.Context) error {
			return errors.Join(e.holder.Shutdown(ctx, holderclient.Shutdown{}), cgroup.Remove(e.dir))
		}
	}
	start := time.Now()
	e.hub.event(localcluster.Event{Phase: phase, State: localcluster.Started})
	if err := end(ctx); err != nil && !errors.Is(err, holderclient.ErrNotRunning) {
		return e.fail(phase, start, fmt.Errorf("ending the node: %w", err))
	}
	e.hub.event(localcluster.Event{Phase: phase, State: localcluster.Done, Seconds: time.Since(start).Seconds()})
	return nil
}
