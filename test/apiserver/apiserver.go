// Package apiserver gives tests a real control plane: the one that Studio ships,
// with its controllers and scheduler, but without a node. It runs in a process of
// its own, since upstream's components exit the process when they fail.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/controlplane"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/notify"
)

// envDir tells the test program that it is the control plane, and where.
const envDir = "STUDIO_TEST_CONTROL_PLANE"

// Main is for TestMain: it starts a control plane, lets prepare use it, and runs
// the tests.
func Main(m *testing.M, prepare func(ctx context.Context, cfg *rest.Config) error) {
	if dir := os.Getenv(envDir); dir != "" {
		os.Exit(serve(dir))
	}
	os.Exit(run(m, prepare))
}

// serve is the control plane's process.
func serve(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	// With the tests gone there is nobody to serve.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := controlplane.Run(ctx, controlplane.Config{Dir: datadir.Dir(dir), Notify: notify.FromEnv(), Log: log}); err != nil {
		fmt.Fprintln(os.Stderr, "control plane:", err)
		return 1
	}
	return 0
}

func run(m *testing.M, prepare func(ctx context.Context, cfg *rest.Config) error) int {
	cfg, stop, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting a control plane for the tests:", err)
		return 1
	}
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := prepare(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the control plane:", err)
		return 1
	}
	return m.Run()
}

// start runs this program again as a control plane in a folder whose path is
// short enough for sockets.
func start() (cfg *rest.Config, stop func(), err error) {
	dir, err := os.MkdirTemp("", "cp")
	if err != nil {
		return nil, nil, err
	}
	d := datadir.Dir(filepath.Join(dir, "d"))
	if err := d.Init(); err != nil {
		return nil, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envDir+"="+d.String(), notify.EnvFD+"=3")
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{w}, log, log
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	w.Close()
	stop = func() {
		life.Close()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	}
	if err := ready(r); err != nil {
		text, _ := os.ReadFile(log.Name())
		stop()
		return nil, nil, fmt.Errorf("%w\n%s", err, tail(text))
	}
	cfg, err = clientcmd.BuildConfigFromFlags("", d.Kubeconfig())
	if err != nil {
		stop()
		return nil, nil, err
	}
	cfg.QPS = -1
	return cfg, stop, nil
}

// lastPhase of a start.
const lastPhase = "bootstrap"

// startLimit is far more than a start takes on a busy machine.
const startLimit = 2 * time.Minute

// ready waits until the API server and its controllers are.
func ready(r *os.File) error {
	result := make(chan error, 1)
	say := func(err error) {
		select {
		case result <- err:
		default: // only the first word counts
		}
	}
	go func() {
		defer r.Close()
		err := notify.Read(r, func(e localcluster.Event) {
			switch {
			case e.State == localcluster.Failed:
				say(errors.New(e.Phase + ": " + e.Message))
			case e.Phase == lastPhase && e.State == localcluster.Done:
				say(nil)
			}
		})
		say(fmt.Errorf("it ended before it was ready (%v)", err))
	}()
	select {
	case err := <-result:
		return err
	case <-time.After(startLimit):
		return fmt.Errorf("it was not ready within %v", startLimit)
	}
}

func tail(text []byte) string {
	const most = 4000
	return string(text[max(0, len(text)-most):])
}
