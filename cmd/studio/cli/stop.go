package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster"
)

func (a *app) stop() *cobra.Command {
	return a.ending(&cobra.Command{
		Use:   "stop",
		Short: "End the engine; pods that run go on",
		Long: "Ends the API server, the controllers and the node's kubelet. Pods go on running and are taken up again by\n" +
			"the next `studio up`.",
		Example: "  studio stop\n  studio stop && studio up    # a new version of Studio under running pods",
	}, func(ctx context.Context, e engine, progress localcluster.Progress) error {
		return e.Stop(ctx, progress)
	},
		"The engine is stopped; pods go on. `studio up` takes them up again, `studio down` ends them.")
}

func (a *app) down() *cobra.Command {
	return a.ending(&cobra.Command{
		Use:     "down",
		Short:   "End the pods, then the engine; data stays",
		Long:    "Ends the pods with the grace that they ask for, then the engine. Objects, volumes and logs stay on disk.",
		Example: "  studio down",
	}, func(ctx context.Context, e engine, progress localcluster.Progress) error {
		return e.Down(ctx, progress)
	},
		"Everything is down; data stays. `studio up` starts it again, `studio delete` removes the data.")
}

// ending completes a verb that ends something and prints what is left.
func (a *app) ending(cmd *cobra.Command, end func(context.Context, engine, localcluster.Progress) error, done string) *cobra.Command {
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, _, err := a.open(defaultDriver)
		if err != nil {
			return err
		}
		p := a.printer(a.Err)
		err = end(cmd.Context(), e, progress.Once(p.Event))
		p.End()
		if err != nil {
			return err
		}
		if a.output != "" {
			status, err := e.Status(cmd.Context())
			if err != nil {
				return err
			}
			return printAs(a.Out, a.output, status)
		}
		a.note("%s", done)
		return nil
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}
