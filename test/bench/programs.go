package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/notify"
	"github.com/mlstudio/studio/test/proc"
)

// folder is a data directory for one measurement. Sockets lie in it, so its path is short.
func folder() (dir datadir.Dir, remove func(), err error) {
	top, err := os.MkdirTemp("", "sb-")
	if err != nil {
		return "", nil, err
	}
	return datadir.Dir(filepath.Join(top, "data")), func() {
		if err := os.RemoveAll(top); err != nil {
			fmt.Fprintf(os.Stderr, "bench: removing %s: %v\n", top, err)
		}
	}, nil
}

// studio is one engine, driven by the command line as a person would.
type studio struct {
	bin  string
	dir  datadir.Dir
	mark proc.Mark
}

func (b *bench) studio(dir datadir.Dir) studio {
	return studio{bin: b.bin, dir: dir, mark: proc.Mark("STUDIO_BENCH_MARK=" + strconv.Itoa(os.Getpid()))}
}

// run waits for `studio ARGS` and returns how long it took.
func (s studio) run(ctx context.Context, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "studio"), args...)
	cmd.Env = append(os.Environ(), datadir.Env+"="+s.dir.String(), string(s.mark))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("studio %v: %w\n%s", args, err, said.Bytes())
	}
	return time.Since(start), nil
}

func (s studio) up(ctx context.Context) (time.Duration, error) {
	return s.run(ctx, "up", "--driver", "embedded")
}

// fresh is an engine that runs on a new data directory; end stops it and removes that.
func (b *bench) fresh(ctx context.Context) (s studio, end func(), err error) {
	dir, remove, err := folder()
	if err != nil {
		return studio{}, nil, err
	}
	s = b.studio(dir)
	end = func() {
		if err := s.down(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		}
		remove()
	}
	if _, err := s.up(ctx); err != nil {
		end()
		return studio{}, nil, err
	}
	return s, end, nil
}

// down also runs when the bench was interrupted.
func (s studio) down(ctx context.Context) error {
	_, err := s.run(context.WithoutCancel(ctx), "down")
	return err
}

func (s studio) processes() ([]proc.Process, error) { return proc.Find(s.mark, s.dir.String()) }

// peer is a kube-apiserver alone on the same store.
type peer struct {
	cmd *exec.Cmd
	dir datadir.Dir
	// ready is the time from its start until /readyz was OK.
	ready time.Duration
}

// startPeer returns when the API server is ready; it tells so itself, as the
// engine's parts do.
func (b *bench) startPeer(ctx context.Context, dir datadir.Dir, args ...string) (*peer, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "studiod"), append([]string{"bare-apiserver", "--data-dir", dir.String()}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), notify.EnvFD+"=3")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("starting the bare API server: %w", err)
	}
	p := &peer{cmd: cmd, dir: dir}
	err = notify.Read(r, func(e localcluster.Event) {
		// Its whole /readyz: the phase "api" before it leaves two hooks out.
		if e.Phase == "bootstrap" && e.State == localcluster.Done && p.ready == 0 {
			p.ready = time.Since(start)
			r.Close() // ends Read: nothing that follows is of interest
		}
	})
	if p.ready == 0 {
		return nil, fmt.Errorf("starting the bare API server: it ended (%w)\n%s", errors.Join(err, cmd.Wait()), said.Bytes())
	}
	return p, nil
}

func (p *peer) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the bare API server: %w", err)
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("stopping the bare API server: %w", err)
	}
	return nil
}

// client speaks to the API server of a data directory, as fast as it can.
func client(dir datadir.Dir) (kubernetes.Interface, error) {
	c, err := clientcmd.BuildConfigFromFlags("", dir.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	c.QPS = -1
	return kubernetes.NewForConfig(c)
}
