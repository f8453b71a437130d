package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster/images"
)

func (a *app) imageList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the images of the local store",
		Long:    "Lists the images that pods run from, the newest first. DISK counts the unpacked files; images share layers.",
		Example: "  studio image ls\n  studio image ls -o json | jq -r '.[].names[]'",
		Args:    noArgs,
		RunE: a.insideNode(func(*cobra.Command, []string) error {
			all, err := a.imageReports()
			switch {
			case err != nil:
				return err
			case a.output != "":
				return printAs(a.Out, a.output, all)
			case a.quiet:
				for _, r := range all {
					fmt.Fprintln(a.Out, r.ID)
				}
				return nil
			case len(all) == 0:
				a.note("There are no images; `studio image import FILE` adds some.")
				return nil
			}
			return printImages(a.Out, all, time.Now())
		}),
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

func (a *app) imageReports() ([]imageReport, error) {
	store, err := a.store()
	if err != nil {
		return nil, err
	}
	list, err := store.List()
	if err != nil {
		return nil, err
	}
	all := []imageReport{}
	for _, img := range list {
		r, err := reportImage(store, img)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func printImages(w io.Writer, all []imageReport, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "IMAGE\tID\tLAYERS\tDISK\tADDED")
	for _, r := range all {
		names := r.Names
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		for _, n := range names {
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s ago\n", images.Familiar(n), shortID(r.ID), r.Layers, bytesOf(r.Disk), progress.Seconds(now.Sub(r.Added)))
		}
	}
	return t.Flush()
}
