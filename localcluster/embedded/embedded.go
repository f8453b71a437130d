// Package embedded is the driver of the cluster that needs neither Docker nor
// root: it starts the engine and asks it. Linux only.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/cgroup"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/engine/client"
	holderclient "github.com/mlstudio/studio/localcluster/holder/client"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/pidfd"
	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/version"
)

// Driver is the embedded cluster of one data directory.
type Driver struct {
	dir    datadir.Dir
	engine *client.Client
	holder *holderclient.Client
}

var _ localcluster.Cluster = (*Driver)(nil)

// New returns the driver. It neither makes the folder nor starts anything.
func New(d datadir.Dir) *Driver {
	return &Driver{dir: d, engine: client.New(d), holder: holderclient.New(d)}
}

// Engine is the client of the engine's state stream.
func (d *Driver) Engine() *client.Client { return d.engine }

// Up starts the engine, or joins the one that runs, and follows it until ready.
func (d *Driver) Up(ctx context.Context, progress localcluster.Progress) error {
	state, err := d.engine.State(ctx)
	switch {
	case err == nil && state.Stopping:
		if err := d.waitEnd(ctx, progress); err != nil {
			return err
		}
		err = d.start(ctx)
	case err == nil && state.Version != version.Version:
		progress(localcluster.Event{Time: time.Now(), Phase: "engine", State: localcluster.Info,
			Message: fmt.Sprintf("the engine that runs is %s, this is %s: `studio stop`, then `studio up` change it; pods go on meanwhile", state.Version, version.Version)})
	case errors.Is(err, client.ErrNotRunning):
		err = d.start(ctx)
	}
	if err != nil {
		return err
	}
	for {
		if err := d.untilReady(ctx, progress); err != nil {
			return err
		}
		if err = d.probe(ctx); err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		// A part was killed a moment ago and the engine has not been told by the
		// kernel yet; there is nothing to wait on but that moment.
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// probe asks the API server itself whether it is ready.
func (d *Driver) probe(ctx context.Context) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", d.dir.Kubeconfig())
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Host+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the API server is not ready: %s", res.Status)
	}
	return nil
}

// untilReady passes the engine's progress on until it is ready. A phase that
// failed without the engine ending is tried again by it, and waited for.
func (d *Driver) untilReady(ctx context.Context, progress localcluster.Progress) error {
	var last error
	err := d.engine.Watch(ctx, 0, func(m client.Message) bool {
		if m.State != nil {
			for _, p := range m.State.Phases {
				last = note(p, last)
				progress(p)
			}
			return !m.State.Ready
		}
		last = note(*m.Event, last)
		progress(*m.Event)
		return m.Ready == nil || !*m.Ready
	})
	if errors.Is(err, client.ErrNotRunning) {
		if last != nil {
			return last
		}
		return fmt.Errorf("the engine ended while it started; its last words are in %s", d.dir.Log("engine"))
	}
	return err
}

func note(e localcluster.Event, last error) error {
	if e.State == localcluster.Failed {
		return errors.New(e.Message)
	}
	return last
}

// Stop ends the engine; pods go on. Without an engine it does nothing.
func (d *Driver) Stop(ctx context.Context, progress localcluster.Progress) error {
	return d.end(ctx, progress, d.engine.Stop)
}

// Down ends the pods and the engine, also where the engine was stopped before.
func (d *Driver) Down(ctx context.Context, progress localcluster.Progress) error {
	if err := d.end(ctx, progress, d.engine.Down); err != nil {
		return err
	}
	err := d.holder.Shutdown(ctx, holderclient.Shutdown{})
	if err != nil && !errors.Is(err, holderclient.ErrNotRunning) {
		return fmt.Errorf("ending the pods: %w", err)
	}
	return cgroup.Remove(d.dir)
}

func (d *Driver) end(ctx context.Context, progress localcluster.Progress, ask func(context.Context) error) error {
	state, err := d.engine.State(ctx)
	if errors.Is(err, client.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	engine, err := pidfd.Open(state.PID)
	if err != nil {
		return nil // It ended since.
	}
	defer engine.Close()
	if err := ask(ctx); err != nil && !errors.Is(err, client.ErrNotRunning) {
		return err
	}
	if err := d.waitEnd(ctx, progress); err != nil {
		return err
	}
	return pidfd.Wait(ctx, engine)
}

// waitEnd follows the engine to its end and then until the folder is free.
func (d *Driver) waitEnd(ctx context.Context, progress localcluster.Progress) error {
	first := true
	err := d.engine.Watch(ctx, 0, func(m client.Message) bool {
		if m.Event != nil && !first {
			progress(*m.Event)
		}
		first = false
		return true
	})
	if err != nil && !errors.Is(err, client.ErrNotRunning) {
		return err
	}
	return d.dir.WaitUnlocked(ctx)
}

// Delete is Down, and then removes the data directory.
func (d *Driver) Delete(ctx context.Context, progress localcluster.Progress) error {
	if err := d.Down(ctx, progress); err != nil {
		return err
	}
	release, err := d.dir.Lock()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	if err := namespaces.RemoveAll(ctx, d.dir.String()); err != nil {
		return fmt.Errorf("removing %s: %w", d.dir, err)
	}
	return nil
}

// Status looks without starting anything.
func (d *Driver) Status(ctx context.Context) (localcluster.Status, error) {
	s := localcluster.Status{Driver: "embedded", DataDir: d.dir.String()}
	mode, err := images.ModeOf(d.dir.Images())
	if err != nil {
		return s, err
	}
	s.Images = string(mode)
	if holder, err := d.holder.Status(ctx); err == nil {
		s.Pods = holder.Pods
		s.Processes = append(s.Processes, localcluster.Process{Name: "node", State: holder.Node.State, Since: holder.Node.Since, Restarts: holder.Node.Restarts, Message: holder.Node.Message})
	} else if !errors.Is(err, holderclient.ErrNotRunning) {
		return s, err
	}
	state, err := d.engine.State(ctx)
	if errors.Is(err, client.ErrNotRunning) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.Running, s.Version, s.Kubeconfig = state.Ready, state.Version, d.dir.Kubeconfig()
	s.Processes = append([]localcluster.Process{{Name: "engine", PID: state.PID, State: "running", Since: state.StartedAt}}, append(state.Processes, s.Processes...)...)
	s.Warnings = state.Warnings
	s.Phases = map[string]string{}
	for _, p := range state.Phases {
		s.Phases[p.Phase] = string(p.State)
	}
	s.APIServer, err = d.apiServer()
	return s, err
}

func (d *Driver) apiServer() (string, error) {
	port, err := d.dir.APIPort()
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "https", Host: "127.0.0.1:" + strconv.Itoa(port)}).String(), nil
}

// RegisterProject opens a project's folders to its pods. The engine must run.
func (d *Driver) RegisterProject(ctx context.Context, p projects.Project) error {
	return d.engine.RegisterProject(ctx, p)
}

// executable finds studiod beside this program, or on the PATH.
func executable() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding studiod: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("finding studiod: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), "studiod")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("finding studiod, the engine: %w; `make build` leaves it beside studio", err)
	}
	return path, nil
}
