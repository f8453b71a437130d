package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/projects"
)

func (a *app) delete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "End everything and remove its data: objects, volumes, logs",
		Long: "Does what `studio down` does and then removes the data directory. Your project folders are not touched.\n" +
			"It says what would be lost and asks, where there is a person to ask.",
		Example: "  studio delete\n  studio delete --yes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, dir, err := a.open(defaultDriver)
			if err != nil {
				return err
			}
			if _, err := os.Stat(dir.String()); errors.Is(err, fs.ErrNotExist) {
				a.note("There is nothing to delete: %s is not there.", dir)
				return nil
			}
			if !yes {
				loss(dir, func(line string) { fmt.Fprintln(a.Err, line) })
				if !a.asks() {
					return fail(errors.New("nothing was deleted: there is nobody to ask"), "run `studio delete --yes`")
				}
				if !a.confirm("Delete all of it? [y/N] ") {
					return fail(errors.New("nothing was deleted"), "answer y, or run `studio delete --yes`")
				}
			}
			p := a.printer(a.Err)
			err = e.Delete(cmd.Context(), progress.Once(p.Event))
			p.End()
			if err != nil {
				return err
			}
			if a.output != "" {
				return printAs(a.Out, a.output, map[string]string{"deleted": dir.String()})
			}
			a.note("Deleted %s.", dir)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// loss says what is in the data directory, in the order of its worth.
func loss(dir datadir.Dir, say func(string)) {
	say(fmt.Sprintf("This removes %s for good:", dir))
	say("  all Kubernetes objects and their logs")
	volumes, _ := os.ReadDir(dir.Volumes())
	for _, v := range volumes {
		path := filepath.Join(dir.Volumes(), v.Name())
		say(fmt.Sprintf("  volume %s, %s", v.Name(), size(path)))
	}
	if n := images.Count(dir.Images()); n > 0 {
		say(fmt.Sprintf("  %d images, %s", n, size(dir.Images())))
	}
	registered, _ := projects.List(dir)
	for _, p := range registered {
		say(fmt.Sprintf("  the home folder that pods of %s have (%s); %s itself stays", p.Name, size(dir.Home(p.ID)), p.Dir))
	}
}

// size adds up a folder as people read it; what can not be read counts nothing.
func size(dir string) string {
	var bytes int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytesOf(bytes)
}

// confirm asks a person; anything but a clear yes is a no.
func (a *app) confirm(question string) bool {
	fmt.Fprint(a.Err, question)
	answer, _ := bufio.NewReader(a.In).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	}
	return false
}
