package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// cluster is one engine, driven by the command line as a person would.
type cluster struct {
	studio string
	// folder is its data directory.
	folder string
}

func (c cluster) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, c.studio, args...)
	cmd.Env = append(os.Environ(), datadir.Env+"="+c.folder)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("studio %v: %w\n%s", args, err, said.Bytes())
	}
	return nil
}

func (c cluster) up(ctx context.Context) error {
	return c.command(ctx, "up", "--driver", "embedded", "--images", "oci")
}

func (c cluster) load(ctx context.Context, archive string) error {
	return c.command(ctx, "image", "import", archive)
}

func (c cluster) kubeconfig() string { return datadir.Dir(c.folder).Kubeconfig() }

// keepLogs copies the engine's logs, which go with the cluster.
func (c cluster) keepLogs(to string) error {
	from := datadir.Dir(c.folder).Logs()
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.CopyFS(filepath.Join(to, "engine"), os.DirFS(from))
}

// remove also runs when the run was interrupted.
func (c cluster) remove(ctx context.Context) error {
	return c.command(context.WithoutCancel(ctx), "delete", "--yes")
}
