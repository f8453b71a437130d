package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/version"
)

func (a *app) version() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of Studio and of the Kubernetes in it",
		Example: "  studio version\n  studio version -o json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Studio     string `json:"studio"`
				Kubernetes string `json:"kubernetes"`
				Go         string `json:"go"`
				Platform   string `json:"platform"`
			}{version.Version, version.Kubernetes, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if a.output != "" {
				return printAs(a.Out, a.output, v)
			}
			if a.quiet {
				_, err := fmt.Fprintln(a.Out, v.Studio)
				return err
			}
			_, err := fmt.Fprintf(a.Out, "studio      %s\nkubernetes  %s\ngo          %s %s\n", v.Studio, v.Kubernetes, v.Go, v.Platform)
			return err
		},
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}
