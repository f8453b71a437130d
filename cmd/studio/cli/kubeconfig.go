package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/localcluster/kubeconfig"
)

func (a *app) kubeconfig() *cobra.Command {
	var print, merge, shell bool
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Hand out the credentials for kubectl and the Python SDKs",
		Long: "Prints the cluster's kubeconfig, a shell line that selects it, or merges it into your own kubeconfig. A merge\n" +
			"adds the context `studio`, keeps everything that is in the file and never changes your current context.",
		Example: "  studio kubeconfig > /tmp/config\n  eval \"$(studio kubeconfig --shell)\" && kubectl get pods\n" +
			"  studio kubeconfig --merge && kubectl --context studio get nodes",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, dir, err := a.ensure(cmd.Context())
			if err != nil {
				return err
			}
			raw, err := os.ReadFile(dir.Kubeconfig())
			if err != nil {
				return fail(fmt.Errorf("reading the engine's kubeconfig: %w", err), "studio stop && studio up")
			}
			switch {
			case shell:
				_, err = fmt.Fprintf(a.Out, "export KUBECONFIG=%s\n", shellQuote(dir.Kubeconfig()))
			case merge:
				return a.mergeKubeconfig(raw, dir.String())
			case a.output == "json":
				if raw, err = yaml.YAMLToJSON(raw); err == nil {
					_, err = fmt.Fprintf(a.Out, "%s\n", raw)
				}
			default:
				_, err = a.Out.Write(raw)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&print, "print", false, "print the kubeconfig (the default)")
	flags.BoolVar(&merge, "merge", false, "add it to your kubeconfig as context studio")
	flags.BoolVar(&shell, "shell", false, "print a line for eval that selects it in this shell")
	cmd.MarkFlagsMutuallyExclusive("print", "merge", "shell")
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

func (a *app) mergeKubeconfig(raw []byte, dataDir string) error {
	target, err := kubeconfig.Target()
	if err != nil {
		return err
	}
	context, err := kubeconfig.Merge(target, raw, dataDir)
	if err != nil {
		return err
	}
	if a.output != "" {
		return printAs(a.Out, a.output, map[string]string{"file": target, "context": context})
	}
	a.note("Context %s is in %s; your current context is as it was. Try: kubectl --context %s get nodes", context, target, context)
	return nil
}

// shellQuote makes a path safe in any POSIX shell.
func shellQuote(s string) string {
	out := "'"
	for _, r := range s {
		if r == '\'' {
			out += `'\''`
		} else {
			out += string(r)
		}
	}
	return out + "'"
}
