package cli

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster"
)

func (a *app) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs; starts nothing",
		Long:  "Shows the engine, its parts and where its data lies. What can not be found out is left out.",
		Example: "  studio status\n  studio status -o json | jq .running\n" +
			"  studio status -q && echo up        # exit code 1 when it is not running",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, _, err := a.open(defaultDriver)
			if err != nil {
				return err
			}
			s, err := e.Status(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case a.output != "":
				return printAs(a.Out, a.output, s)
			case a.quiet && !s.Running:
				return &exitError{code: 1}
			case a.quiet:
				return nil
			}
			return printStatus(a.Out, s, time.Now())
		},
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// printStatus shows a status to people. The last line is what to type next.
func printStatus(w io.Writer, s localcluster.Status, now time.Time) error {
	state, next := "stopped", "studio up"
	switch {
	case s.Running:
		state, next = "running", "studio run FILE or FOLDER"
	case len(s.Phases) > 0:
		state, next = "starting", "studio up     (waits until it is ready)"
	case s.Pods:
		state, next = "stopped, its pods go on", "studio up     (or studio down, which ends the pods)"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("Studio", state)
	row("Driver", s.Driver)
	row("Version", s.Version)
	row("API", s.APIServer)
	row("Data", s.DataDir)
	row("Kubeconfig", s.Kubeconfig)
	if err := t.Flush(); err != nil {
		return err
	}
	if len(s.Processes) > 0 {
		fmt.Fprintln(w)
		t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "PART\tSTATE\tPID\tFOR\tRESTARTS\t")
		for _, p := range s.Processes {
			pid, since := "", ""
			if p.PID != 0 {
				pid = strconv.Itoa(p.PID)
			}
			if !p.Since.IsZero() {
				since = progress.Seconds(now.Sub(p.Since))
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", p.Name, p.State, pid, since, p.Restarts, p.Message)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\nnext: %s\n", next)
	return err
}
