package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/doctor"
	"github.com/mlstudio/studio/localcluster/embedded"
	"github.com/mlstudio/studio/localcluster/projects"
)

// engine is a driver that can also open a project's folders to its pods.
type engine interface {
	localcluster.Cluster
	RegisterProject(ctx context.Context, p projects.Project) error
}

// drivers are the kinds of cluster that this build can start.
var drivers = map[string]func(datadir.Dir) engine{
	"embedded": func(d datadir.Dir) engine { return embedded.New(d) },
}

const defaultDriver = "embedded"

// open returns the driver of the chosen data directory; it starts nothing.
func (a *app) open(driver string) (engine, datadir.Dir, error) {
	dir, err := a.dir()
	if err != nil {
		return nil, "", err
	}
	make, ok := drivers[driver]
	if !ok {
		return nil, "", fail(fmt.Errorf("there is no driver %q", driver), "use --driver "+defaultDriver)
	}
	return make(dir), dir, nil
}

// ensure starts the engine where it does not run, for verbs that need it.
// Progress goes to the error stream: the output belongs to the verb.
func (a *app) ensure(ctx context.Context) (engine, datadir.Dir, error) {
	e, dir, err := a.open(defaultDriver)
	if err != nil {
		return nil, "", err
	}
	_, err = a.bringUp(ctx, e, dir, a.printer(a.Err))
	return e, dir, err
}

// bringUp checks what would stop the engine from working, then starts it, and
// tells whether it ran already. Then only messages are shown, not past phases.
func (a *app) bringUp(ctx context.Context, e engine, dir datadir.Dir, p progress.Printer) (already bool, err error) {
	defer p.End()
	show := progress.Once(p.Event)
	if status, err := e.Status(ctx); err == nil && status.Running {
		already = true
		show = func(ev localcluster.Event) {
			if ev.State == localcluster.Info {
				p.Event(ev)
			}
		}
	} else if err := a.refuse(ctx, dir); err != nil {
		return false, err
	}
	return already, e.Up(ctx, show)
}

// refuse runs the checks without which a start can not succeed.
func (a *app) refuse(ctx context.Context, dir datadir.Dir) error {
	for _, f := range doctor.Run(ctx, dir, doctor.Fatal()) {
		if f.Severity == doctor.Error {
			return fail(fmt.Errorf("%s: %s", f.Title, f.Cause), f.Cure)
		}
	}
	return nil
}

// printer picks how progress is shown on a stream.
func (a *app) printer(w io.Writer) progress.Printer {
	switch {
	case a.quiet:
		return progress.Quiet()
	case colours(w):
		return progress.Live(w)
	}
	return progress.Lines(w)
}

// driverFlag adds --driver.
func driverFlag(cmd *cobra.Command, into *string) {
	var names []string
	for name := range drivers {
		names = append(names, name)
	}
	cmd.Flags().StringVar(into, "driver", defaultDriver, "kind of cluster: "+strings.Join(names, ", "))
	_ = cmd.RegisterFlagCompletionFunc("driver", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

// note prints a line for people on the error stream, unless asked to be quiet.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.Err, format+"\n", args...)
	}
}
