package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/project/apply"
	"github.com/mlstudio/studio/project/follow"
)

func (a *app) logs() *cobra.Command {
	var live bool
	var namespace string
	cmd := &cobra.Command{
		Use:   "logs NAME | KIND/NAME",
		Short: "Show the output of a run, all its pods merged by time",
		Long: "Shows what all containers of a run have written, also before their last restart. With -f it goes on until the\n" +
			"run ends.",
		Example: "  studio logs digits\n  studio logs trainjob/digits -f\n  studio logs pod/notebook-0 -n team",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fail(fmt.Errorf("want one run, got %d", len(args)), "studio logs NAME or KIND/NAME")
			}
			return nil
		},
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.showLogs(cmd.Context(), args[0], namespace, live)
		},
	}
	cmd.Flags().BoolVarP(&live, "follow", "f", false, "go on until the run ends")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the run")
	_ = cmd.RegisterFlagCompletionFunc("namespace", a.completeNamespaces)
	a.outputFlag(cmd, "json")
	return cmd
}

func (a *app) showLogs(ctx context.Context, ref, namespace string, live bool) error {
	s, err := a.session(ctx, namespace)
	if err != nil {
		return err
	}
	var found *apply.Found
	err = s.steady(ctx, func() (err error) {
		found, err = s.client.Find(ctx, namespace, ref)
		return err
	})
	if err != nil {
		return fail(err, "`studio status` lists the newest runs, `kubectl get trainjobs,jobs,pods -A` all")
	}
	resource, err := s.client.Resource(found.Object)
	if err != nil {
		return err
	}
	target := follow.Target{Object: found.Object, Runnable: found.Runnable, Resource: resource, Core: s.client.Core()}
	var sink follow.Sink = newScreen(a.Out, a.note)
	if a.output == "json" {
		sink = &jsonSink{a}
	}
	if live {
		return a.followLogs(ctx, target, sink)
	}
	pods, err := follow.Read(ctx, target, sink)
	if err == nil && len(pods) == 0 {
		o := found.Runnable.Outcome(found.Object, nil)
		a.note("%s has no pods, so there is no output. It is %s. %s", name(found.Object), strings.ToLower(string(o.State)), o.Reason)
	}
	return err
}

func (a *app) followLogs(ctx context.Context, target follow.Target, sink follow.Sink) error {
	r, err := follow.Run(ctx, target, sink)
	switch {
	case ctx.Err() != nil:
		return &exitError{code: detached}
	case errors.Is(err, follow.ErrDeleted):
		return fail(fmt.Errorf("%s was deleted", name(target.Object)), "studio status")
	case err != nil:
		return err
	}
	a.note("studio: %s %s %s", name(target.Object), strings.ToLower(string(r.Outcome.State)), r.Outcome.Reason)
	return nil
}

// jsonSink writes each line as an object.
type jsonSink struct{ a *app }

func (j *jsonSink) Line(from follow.Source, text []byte) {
	_ = printLine(j.a.Out, map[string]string{"pod": from.Pod, "container": from.Container, "line": string(text)})
}

func (j *jsonSink) Notice(text string) { j.a.note("studio: %s", text) }

// completeRuns offers the names of runs. It asks an engine that runs and never
// starts one.
func (a *app) completeRuns(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	namespace, _ := cmd.Flags().GetString("namespace")
	var names []string
	a.peek(cmd.Context(), func(ctx context.Context, c *apply.Client) error {
		runs, err := c.Runs(ctx, namespace)
		for _, r := range runs {
			if !r.Top() {
				continue
			}
			names = append(names, strings.ToLower(r.Object.GetKind())+"/"+r.Object.GetName())
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
