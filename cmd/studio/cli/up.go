package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
)

func (a *app) up() *cobra.Command {
	var driver, from string
	var events bool
	var laptop laptop
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the platform, or join the one that runs",
		Long: "Starts Kubernetes and the platform's controllers and returns when they are ready. Running it again does\n" +
			"nothing. Data of an earlier start is kept, and pods that were left by `studio stop` go on.",
		Example: "  studio up\n  studio up --json | jq .phase\n  STUDIO_DATA_DIR=/data/studio studio up",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := time.Now()
			e, dir, err := a.open(driver)
			if err != nil {
				return err
			}
			if err := a.chooseImages(from); err != nil {
				return err
			}
			if err := laptop.check(); err != nil {
				return err
			}
			p := a.printer(a.Err)
			if events {
				p = progress.JSON(a.Out)
			}
			already, err := a.bringUp(cmd.Context(), e, dir, p)
			if err != nil {
				return err
			}
			if err := laptop.apply(cmd.Context(), a, dir); err != nil {
				return err
			}
			if events {
				return nil
			}
			status, err := e.Status(cmd.Context())
			if err != nil {
				return err
			}
			if a.output != "" {
				return printAs(a.Out, a.output, status)
			}
			if a.quiet {
				return nil
			}
			how := "up after " + progress.Seconds(time.Since(start))
			if already {
				how = "up already"
			}
			for _, w := range status.Warnings {
				fmt.Fprintf(a.Err, "warning: %s\n", w)
			}
			_, err = fmt.Fprintf(a.Out, "Studio is %s (%s).\n  API   %s\n  data  %s\n  image %s\n  next  studio run FILE or FOLDER · studio status · eval \"$(studio kubeconfig --shell)\"\n",
				how, status.Driver, status.APIServer, status.DataDir, imageModes[status.Images])
			if err != nil {
				return err
			}
			return laptop.ask(cmd.Context(), a, dir)
		},
	}
	driverFlag(cmd, &driver)
	imagesFlag(cmd, &from)
	laptop.flags(cmd)
	cmd.Flags().BoolVar(&events, "json", false, "print one JSON object for each step of progress")
	a.outputFlag(cmd, "json", "yaml")
	cmd.MarkFlagsMutuallyExclusive("json", "output")
	return cmd
}
