// Package cli is Studio's command line: one file a verb, each a thin shell over
// the packages that do the work. Commands print for people, or JSON and YAML for
// programs, and say nothing but results when they are asked to be quiet.
package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// app is what all verbs share: streams and the flags of the root command.
type app struct {
	Streams
	dataDir string
	output  string
	quiet   bool
	// args are the whole command line.
	args []string
}

// Run executes one command line and reports its error, which it also returns.
func Run(ctx context.Context, streams Streams, args []string) error {
	a := &app{Streams: streams, args: args}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.report(err)
	}
	return err
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "studio",
		Short: "A full ML platform on this machine, in seconds",
		Long: "Studio starts a real Kubernetes with the Kubeflow APIs on this machine, without Docker or root,\n" +
			"and runs your project on it. What runs here applies unchanged on a shared cluster.",
		Example:       "  studio up\n  studio run examples/digits\n  studio status",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.dataDir, "data-dir", "", "folder of the engine's data (default $"+datadir.Env+", else ~/.local/share/studio)")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only")
	_ = root.MarkPersistentFlagDirname("data-dir") // fails only for an unknown flag
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fail(err, fmt.Sprintf("`%s --help` lists the flags", cmd.CommandPath()))
	})
	for _, group := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"platform", "The platform:", []*cobra.Command{a.up(), a.stop(), a.down(), a.delete(), a.status(), a.doctor()}},
		{"project", "Your code:", []*cobra.Command{a.initialize(), a.run(), a.dev(), a.logs(), a.recover(), a.env(), a.secret()}},
		{"cluster", "The cluster:", []*cobra.Command{a.image(), a.expose(), a.kubeconfig()}},
	} {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, c := range group.commands {
			c.GroupID = group.id
			root.AddCommand(c)
		}
	}
	root.AddCommand(a.schema(), a.version())
	return root
}

// dir is the data directory that the flags and the environment choose.
func (a *app) dir() (datadir.Dir, error) { return datadir.Resolve(a.dataDir) }

// outputFlag adds -o with the forms that a verb knows; "" is text for people.
func (a *app) outputFlag(cmd *cobra.Command, forms ...string) {
	cmd.Flags().StringVarP(&a.output, "output", "o", "", "output for programs: "+strings.Join(forms, " or "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(forms, cobra.ShellCompDirectiveNoFileComp))
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if a.output != "" && !slices.Contains(forms, a.output) {
			wanted := a.output
			a.output = ""
			return fail(fmt.Errorf("%s has no output %q", cmd.CommandPath(), wanted), "use -o "+strings.Join(forms, " or -o "))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// noArgs refuses arguments with the command that may have been meant.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fail(fmt.Errorf("%s takes no argument, got %q", cmd.CommandPath(), args[0]), fmt.Sprintf("`%s --help` shows its use", cmd.CommandPath()))
}
