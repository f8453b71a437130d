package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/holder"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
	"github.com/mlstudio/studio/localcluster/node"
	"github.com/mlstudio/studio/localcluster/notify"
)

func (p *part) node() *cobra.Command {
	return &cobra.Command{
		Use:    "node",
		Short:  "Run the kubelet and the container runtime in the node's namespaces; the holder starts it",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			notifier := notify.FromEnv()
			// The holder writes this process's log: the folder is not seen from here.
			if err := klogTo(os.Stderr); err != nil {
				return err
			}
			d, err := datadir.Resolve(p.dir)
			if err != nil {
				return err
			}
			id := os.Getenv(holder.EnvID)
			if id == "" {
				return errors.New("the holder starts this command; it is of no use by itself")
			}
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			// A small heap that is collected half as often: pods start while it would be.
			debug.SetGCPercent(200)
			mapping := namespaces.Current()
			c := node.Config{
				Dir: d, HolderID: id, Programs: filepath.Dir(exe), Rootless: mapping != namespaces.None, OneID: mapping == namespaces.Single,
				GroupsDir: holder.GroupsDir,
				Notify:    notifier, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			}
			if text, ok := os.LookupEnv(holder.EnvDrain); ok {
				grace, err := strconv.ParseFloat(text, 64)
				if err != nil {
					return fmt.Errorf("reading %s: %w", holder.EnvDrain, err)
				}
				return node.Drain(cmd.Context(), c, time.Duration(grace*float64(time.Second)))
			}
			return node.Run(cmd.Context(), c)
		},
	}
}
