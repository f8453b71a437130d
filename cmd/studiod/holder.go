package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/holder"
	"github.com/mlstudio/studio/localcluster/logfile"
	"github.com/mlstudio/studio/localcluster/notify"
)

func (p *part) holder() *cobra.Command {
	return &cobra.Command{
		Use:    "holder",
		Short:  "Hold the namespaces of the node and the way out of them; the engine starts it",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			notifier := notify.FromEnv()
			d, log, w, err := p.open("holder")
			if err != nil {
				return err
			}
			defer w.Close()
			// The node half cannot see the logs: the holder writes them for it.
			_, nodeLog := logfile.Open(d.Log("node"), slog.LevelInfo)
			defer nodeLog.Close()
			return holder.Run(cmd.Context(), holder.Config{Dir: d, Notify: notifier, Log: log, NodeLog: nodeLog})
		},
	}
}
