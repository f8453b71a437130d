package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/engine"
	"github.com/mlstudio/studio/localcluster/notify"
)

func (p *part) serve() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the engine until it is stopped",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			notifier := notify.FromEnv()
			d, log, w, err := p.open("engine")
			if err != nil {
				return err
			}
			defer w.Close()
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			return engine.Serve(cmd.Context(), engine.Config{Dir: d, Log: log, Notify: notifier, Executable: exe, Watch: watchFolder})
		},
	}
}
