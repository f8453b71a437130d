package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/hostrt/kept"
)

func (a *app) recover() *cobra.Command {
	var namespace, to string
	cmd := &cobra.Command{
		Use:   "recover [RUN]",
		Short: "Get back the files that a run wrote outside its volumes",
		Long: "What a container writes outside its volumes goes with it. The node keeps such files for a while, within a budget\n" +
			"of disk. Without a run it lists what is kept; with one it copies the files into a new folder.",
		Example: "  studio recover\n  studio recover train-x7k2p\n  studio recover train-x7k2p --to out",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			all, err := a.kept()
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var pods []string
			for _, k := range all {
				pods = append(pods, k.Pod)
			}
			return slices.Compact(pods), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := a.kept()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return a.listKept(all)
			}
			return a.copyKept(all, namespace, args[0], to)
		},
	}
	a.namespaceFlag(cmd, &namespace, "namespace of the run")
	cmd.Flags().StringVar(&to, "to", "", "the folder to copy into; default: recovered-RUN")
	_ = cmd.MarkFlagDirname("to")
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

func (a *app) kept() ([]kept.Kept, error) {
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	return kept.List(dir.Kept())
}

func (a *app) listKept(all []kept.Kept) error {
	if a.output != "" {
		return printAs(a.Out, a.output, all)
	}
	table := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	for _, k := range all {
		fmt.Fprintf(table, "%s\t%s/%s\t%s\t%s\n", k.Time.Format("2006-01-02 15:04"), k.Namespace, k.Pod, bytesOf(k.Bytes), some(k.Files))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(all) == 0 {
		a.note("nothing is kept: no container has left files outside its volumes")
	} else {
		a.note("next: studio recover %s", all[len(all)-1].Pod)
	}
	return nil
}

// copyKept copies the files of all of a run's pods, the last container's first.
func (a *app) copyKept(all []kept.Kept, namespace, run, to string) error {
	var mine []kept.Kept
	for _, k := range all {
		if k.Namespace == namespace && (k.Pod == run || strings.HasPrefix(k.Pod, run+"-")) {
			mine = append(mine, k)
		}
	}
	if len(mine) == 0 {
		return fail(fmt.Errorf("no files of a run %s are kept in namespace %s", run, namespace), "studio recover lists what is kept")
	}
	if to == "" {
		to = "recovered-" + run
		if _, err := os.Lstat(to); err == nil {
			return fail(fmt.Errorf("%s is there already", to), "choose another folder: --to DIR")
		}
	}
	copied := []string{}
	for _, k := range mine {
		folder := to
		if len(mine) > 1 { // files of one name must not meet
			folder = filepath.Join(to, k.Pod, k.Container)
		}
		files, err := k.Copy(folder)
		if err != nil {
			return fail(err, "choose another folder: --to DIR; files of another user of the pod can be read by root only: "+k.Dir)
		}
		copied = append(copied, files...)
	}
	if a.output != "" {
		return printAs(a.Out, a.output, copied)
	}
	for _, file := range copied {
		fmt.Fprintln(a.Out, file)
	}
	return nil
}
