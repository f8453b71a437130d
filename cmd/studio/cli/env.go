package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/pyenv"
)

func (a *app) env() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Show, make and record a project's Python environment",
		Long: "Every run of a project uses one Python environment: the one that is found, or .venv, made from the requirements.\n" +
			"These verbs need no engine.",
		Example: "  studio env show\n  studio env lock && git add " + pyenv.LockName + "\n  studio env diff",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.envShow(), a.envCreate(), a.envLock(), a.envDiff())
	return cmd
}

// envVerb is a verb on the environment of the folder that is named, or of this one.
func (a *app) envVerb(use, short, long, example string, forms bool, do func(ctx context.Context, p *project.Project, e *pyenv.Environment) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " [FOLDER]", Short: short, Long: long, Example: example,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			p, err := project.Open(dir)
			if err != nil {
				return err
			}
			e, err := a.environment(cmd.Context(), p)
			if err != nil {
				return err
			}
			if e == nil {
				return fail(errors.New("the project asks for no Python, and there is none"), "list what it needs in requirements.txt, or apt-get install python3")
			}
			return do(cmd.Context(), p, e)
		},
	}
	if forms {
		a.outputFlag(cmd, "json", "yaml")
	}
	return cmd
}

func (a *app) envShow() *cobra.Command {
	return a.envVerb("show", "Show which environment the project's runs use, and what is in it",
		"Finds the environment as a run does, and makes it where a run would.", "  studio env show\n  studio env show -o json", true,
		func(ctx context.Context, p *project.Project, e *pyenv.Environment) error {
			l, err := e.Installed(ctx)
			if err != nil {
				return err
			}
			if a.output != "" {
				return printAs(a.Out, a.output, struct {
					*pyenv.Environment
					Packages []pyenv.Package `json:"packages"`
				}{e, l.Packages})
			}
			fmt.Fprintf(a.Out, "python    %s  %s %s\nprefix    %s\npackages  %d\n", e.Python, l.Implementation, l.Python, e.Prefix, len(l.Packages))
			for _, m := range e.Mounts {
				fmt.Fprintf(a.Out, "pods see  %s (read-only)\n", m.Path)
			}
			return nil
		})
}

func (a *app) envCreate() *cobra.Command {
	return a.envVerb("create", "Make the environment now, rather than at the first run",
		"Makes the project's .venv from its requirements where no environment that is there has them all. A second time it does nothing.",
		"  studio env create", false,
		func(context.Context, *project.Project, *pyenv.Environment) error { return nil })
}

func (a *app) envLock() *cobra.Command {
	return a.envVerb("lock", "Record what the environment consists of in "+pyenv.LockName,
		"Records each package's name, version, hash and source. Runs then say when something else is installed.",
		"  studio env lock\n  git add "+pyenv.LockName, false,
		func(ctx context.Context, p *project.Project, e *pyenv.Environment) error {
			now, err := e.Installed(ctx)
			if err != nil {
				return err
			}
			before, err := pyenv.ReadLock(p.Dir)
			if err != nil {
				a.note("warning: %v", err) // it is written anew
			}
			if before != nil {
				for _, c := range before.Diff(now) {
					fmt.Fprintln(a.Out, c)
				}
			}
			if err := now.Write(p.Dir); err != nil {
				return err
			}
			a.note("wrote %s: Python %s, %d packages", relative([]string{filepath.Join(p.Dir, pyenv.LockName)})[0], now.Python, len(now.Packages))
			return nil
		})
}

func (a *app) envDiff() *cobra.Command {
	return a.envVerb("diff", "Compare what is installed with "+pyenv.LockName,
		"Each line is a package: + is installed and not in the lock, - is in the lock and not installed, ~ differs.",
		"  studio env diff\n  studio env diff -o json", true,
		func(ctx context.Context, p *project.Project, e *pyenv.Environment) error {
			locked, err := pyenv.ReadLock(p.Dir)
			if err != nil {
				return err
			}
			if locked == nil {
				return fail(fmt.Errorf("the project has no %s", pyenv.LockName), "studio env lock")
			}
			now, err := e.Installed(ctx)
			if err != nil {
				return err
			}
			changes := locked.Diff(now)
			if a.output != "" {
				return printAs(a.Out, a.output, changes)
			}
			for _, c := range changes {
				fmt.Fprintln(a.Out, c)
			}
			if len(changes) == 0 {
				a.note("the environment is what %s says", pyenv.LockName)
			}
			return nil
		})
}

// mostDrift bounds what a run says of an environment that is not as locked.
const mostDrift = 5

// drift says what a run has that the lock file has not.
func (a *app) drift(ctx context.Context, p *project.Project, e *pyenv.Environment) error {
	locked, err := pyenv.ReadLock(p.Dir)
	if locked == nil || err != nil {
		return err
	}
	now, err := e.Installed(ctx)
	if err != nil {
		return err
	}
	changes := locked.Diff(now)
	if len(changes) == 0 {
		return nil
	}
	var some []string
	for _, c := range changes[:min(mostDrift, len(changes))] {
		some = append(some, c.String())
	}
	more := ""
	if len(changes) > mostDrift {
		more = fmt.Sprintf(" and %d more", len(changes)-mostDrift)
	}
	a.note("python: not as in %s: %s%s; `studio env lock` records it", pyenv.LockName, strings.Join(some, ", "), more)
	return nil
}
