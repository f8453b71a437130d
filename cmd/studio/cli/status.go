package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/node/netpolicy"
	"github.com/mlstudio/studio/project/apply"
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
			full := statusReport{Status: s, Runs: a.recent(cmd.Context(), s)}
			if s.Running {
				// What can not be had is left out.
				full.Exposed, _ = a.exposures(cmd.Context())
				if w, err := netpolicy.Warning(cmd.Context(), s.Kubeconfig); err == nil && w != "" {
					full.Warnings = append(full.Warnings, w)
				}
			}
			switch {
			case a.output != "":
				return printAs(a.Out, a.output, full)
			case a.quiet && !s.Running:
				return &exitError{code: 1}
			case a.quiet:
				return nil
			}
			return printStatus(a.Out, full, time.Now())
		},
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// statusReport is the engine's status and what runs on it.
type statusReport struct {
	localcluster.Status
	Runs    []run             `json:"runs,omitempty"`
	Exposed []client.Exposure `json:"exposed,omitempty"`
}

// run is one run in a list.
type run struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	State     string    `json:"state"`
	Reason    string    `json:"reason,omitempty"`
	Created   time.Time `json:"created"`
}

// mostRuns bounds the list of a status.
const mostRuns = 8

// recent lists the newest runs of all namespaces; empty where they can not be had.
func (a *app) recent(ctx context.Context, s localcluster.Status) []run {
	if !s.Running {
		return nil
	}
	var list []run
	a.peek(ctx, func(ctx context.Context, c *apply.Client) error {
		found, err := c.Runs(ctx, metav1.NamespaceAll)
		for _, f := range found {
			if !f.Top() || len(list) == mostRuns {
				continue
			}
			o, err := c.Outcome(ctx, f)
			if err != nil {
				return err
			}
			list = append(list, run{f.Object.GetKind(), f.Object.GetNamespace(), f.Object.GetName(), string(o.State), o.Reason, f.Object.GetCreationTimestamp().Time})
		}
		return err
	})
	return list
}

// printStatus shows a status to people. The last line is what to type next.
func printStatus(w io.Writer, s statusReport, now time.Time) error {
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
	row("Images", imageModes[s.Images])
	if err := t.Flush(); err != nil {
		return err
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "\nwarning: %s\n", warning)
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
	if len(s.Runs) > 0 {
		fmt.Fprintln(w)
		t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "RUN\tNAMESPACE\tSTATE\tAGE")
		for _, r := range s.Runs {
			fmt.Fprintf(t, "%s/%s\t%s\t%s\t%s\n", strings.ToLower(r.Kind), r.Name, r.Namespace, r.State, progress.Seconds(now.Sub(r.Created)))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		next = fmt.Sprintf("studio logs %s/%s", strings.ToLower(s.Runs[0].Kind), s.Runs[0].Name)
	}
	if len(s.Exposed) > 0 {
		fmt.Fprintln(w)
		if err := printExposures(w, s.Exposed); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\nnext: %s\n", next)
	return err
}
