package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/doctor"
)

func (a *app) doctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what keeps the platform from working, and how to mend it",
		Long: "Looks at this machine and at the data directory, and really tries what the node needs. Each problem comes\n" +
			"with the command that mends it. The exit code is 1 when something keeps the platform from starting.",
		Example: "  studio doctor\n  studio doctor -o json | jq '.[] | select(.severity != \"ok\")'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			found := doctor.Run(cmd.Context(), dir, doctor.All())
			if a.output != "" {
				err = printAs(a.Out, a.output, found)
			} else {
				err = printFindings(a.Out, found, a.quiet)
			}
			if err == nil && doctor.Worst(found) == doctor.Error {
				return &exitError{code: 1}
			}
			return err
		},
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// printFindings shows findings to people; quiet leaves out what is in order.
func printFindings(w io.Writer, found []doctor.Finding, quiet bool) error {
	signs := map[doctor.Severity]string{doctor.OK: "ok", doctor.Info: "info", doctor.Warning: "warn", doctor.Error: "FAIL"}
	paint := map[doctor.Severity]string{doctor.OK: "\x1b[32m", doctor.Info: "\x1b[36m", doctor.Warning: "\x1b[33m", doctor.Error: "\x1b[31m"}
	reset := "\x1b[0m"
	colour := colours(w)
	wrong := 0
	for _, f := range found {
		if f.Severity == doctor.Warning || f.Severity == doctor.Error {
			wrong++
		}
		if quiet && f.Severity == doctor.OK {
			continue
		}
		start, end := "", ""
		if colour {
			start, end = paint[f.Severity], reset
		}
		if _, err := fmt.Fprintf(w, "%s%-4s%s  %-34s %s\n", start, signs[f.Severity], end, f.Title, f.Cause); err != nil {
			return err
		}
		if f.Cure != "" {
			if _, err := fmt.Fprintf(w, "      fix: %s\n", f.Cure); err != nil {
				return err
			}
		}
	}
	if quiet {
		return nil
	}
	closing := "Nothing stands in the way. next: studio up"
	switch {
	case doctor.Worst(found) == doctor.Error:
		closing = "Mend what FAILs, then: studio up"
	case wrong > 0:
		closing = "It will run; the warnings say what works less well. next: studio up"
	}
	_, err := fmt.Fprintf(w, "\n%s\n", closing)
	return err
}
