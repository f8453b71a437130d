package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/notify"
)

// start runs the engine in a session of its own, so that it outlives this
// program and its terminal, and returns once it listens.
func (d *Driver) start(ctx context.Context) error {
	path, err := executable()
	if err != nil {
		return err
	}
	if err := d.dir.Init(); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the engine: %w", err)
	}
	defer r.Close()
	words := filepath.Join(d.dir.Logs(), "engine.err")
	stderr, err := os.OpenFile(words, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		w.Close()
		return fmt.Errorf("starting the engine: %w", err)
	}
	defer stderr.Close()
	cmd := exec.Command(path, "serve", "--data-dir", d.dir.String())
	cmd.Env = append(os.Environ(), notify.EnvFD+"=3")
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdout, cmd.Stderr = stderr, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("starting the engine: %w", err)
	}
	go cmd.Wait() // Reaps it if it ends while this program still runs.
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	listening := false
	var last error
	notify.Read(r, func(e localcluster.Event) {
		listening = listening || e.Phase == "listening"
		last = note(e, last)
		if listening || e.State == localcluster.Failed {
			r.Close()
		}
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case listening:
		return nil
	case last != nil:
		return last
	}
	text, _ := os.ReadFile(words)
	if lines := strings.TrimSpace(string(text)); lines != "" {
		return fmt.Errorf("starting the engine: %s", lines)
	}
	return errors.New("starting the engine: it ended without a word; see " + d.dir.Logs())
}
