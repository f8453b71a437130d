package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/platform/runnable"
	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/apply"
	"github.com/mlstudio/studio/project/entry"
	"github.com/mlstudio/studio/project/follow"
	"github.com/mlstudio/studio/project/manifests"
	"github.com/mlstudio/studio/project/pyenv"
	"github.com/mlstudio/studio/project/secret"
)

// runFlags are the flags of `run`.
type runFlags struct {
	follow    bool
	loop      bool // studio dev
	dryRun    bool
	namespace string
	code      codeFlags
	apply.Options
}

// detached is the exit code of a command that was left by an interrupt.
const detached = 130

func (a *app) run() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [FILE | FOLDER | -]... [-- ARGUMENT...]",
		Short: "Run a script, a notebook, a function, manifests or a project, and follow it to its end",
		Long: "A script, a notebook or a function (FILE.py:NAME) becomes a Job, or a TrainJob with --as train, that runs in the\n" +
			"project's Python environment with the project's folder as working directory. The code is looked at first: its\n" +
			"syntax, its imports, a function's parameters. --dry-run -o yaml prints the object, which needs nothing of Studio.\n\n" +
			"Manifests are applied by server-side apply. A folder with studio.yaml is a project: its manifests run.\n" +
			"Kustomizations, lists and several documents in a file work.\n\n" +
			"Everything is checked against the server first; nothing is applied when something is wrong. Every run in it is\n" +
			"followed to its end with the output of all its pods, and the command ends with the run's exit code. A run of the\n" +
			"same name that has ended is made again; one under way with the same content is joined. Ctrl-C leaves it running.",
		Example: "  studio run train.py -- --epochs 3\n  studio run train.py --param epochs=3 --memory 4Gi --volume digits-model:/model\n" +
			"  studio run explore.ipynb --param rows=100\n  studio run lib/features.py:build --param 'days=30'\n" +
			"  studio run examples/digits\n  studio run job.yaml --follow=false\n  kustomize build . | studio run -\n" +
			"  studio run train.py --as train --nodes 2 --dry-run -o yaml",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.runArgs(cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", true, "follow to the end; with =false, return when everything is applied")
	flags.BoolVar(&f.dryRun, "dry-run", false, "check everything and print the objects; change nothing")
	flags.StringVarP(&f.namespace, "namespace", "n", "default", "namespace of objects that name none")
	flags.BoolVar(&f.Replace, "replace", false, "end a run of the same name that is under way and make it again")
	flags.BoolVar(&f.Force, "force-conflicts", false, "take over fields that another program set")
	_ = cmd.RegisterFlagCompletionFunc("namespace", a.completeNamespaces)
	f.code.add(cmd)
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// runArgs runs code or manifests.
func (a *app) runArgs(cmd *cobra.Command, args []string, f *runFlags) error {
	args, rest := cut(args, cmd.ArgsLenAtDash())
	if len(args) > 0 && slices.ContainsFunc(args, entry.Is) {
		return a.runCode(cmd.Context(), args, rest, f)
	}
	if err := f.code.refuse(cmd.Flags(), rest); err != nil {
		return err
	}
	return a.runManifests(cmd.Context(), args, f)
}

// cut parts the arguments at the two dashes; without them at is -1.
func cut(args []string, at int) (before, after []string) {
	if at < 0 {
		return args, nil
	}
	return args[:at], args[at:]
}

// work is what a command line asks to run.
type work struct {
	project *project.Project // nil for manifests that belong to no folder of their own
	set     *manifests.Set
	env     *pyenv.Environment             // nil where it has not been looked for yet
	reload  func() (*manifests.Set, error) // reads the set again; nil where it has no files
}

func (a *app) runManifests(ctx context.Context, args []string, f *runFlags) error {
	sel, err := choose(args)
	if err != nil {
		return err
	}
	set, err := manifests.Load(sel.paths, a.In)
	if err != nil {
		return err
	}
	for _, path := range set.Skipped {
		a.note("skipped %s: it is no Kubernetes manifest", path)
	}
	return a.carryOut(ctx, work{project: sel.project, set: set, reload: func() (*manifests.Set, error) { return manifests.Load(sel.paths, nil) }}, f)
}

// carryOut checks, applies and follows.
func (a *app) carryOut(ctx context.Context, w work, f *runFlags) error {
	s, err := a.session(ctx, f.namespace)
	if err != nil {
		return err
	}
	inProject := w.project != nil && slices.ContainsFunc(w.set.Objects, func(o manifests.Object) bool { return makesPods(o.Unstructured) })
	if inProject {
		if err := annotate(w.set.Objects, projects.NewID(w.project.Name, w.project.Dir)); err != nil {
			return err
		}
	}
	if f.loop {
		if w.project == nil {
			return fail(errors.New("these manifests belong to no folder that could be watched"), "studio dev FOLDER")
		}
		return s.loop(ctx, w, f)
	}
	var steps []apply.Step
	err = s.steady(ctx, func() (err error) {
		steps, err = s.client.Plan(ctx, w.set, f.Options)
		return err
	})
	var running *apply.Running
	switch {
	case errors.As(err, &running):
		return fail(err, fmt.Sprintf("`studio run ... --replace` ends it and starts the new one; `studio logs %s -f` follows the old one", running.Object.GetName()))
	case err != nil:
		return err
	case f.dryRun:
		return printObjects(a.Out, a.output, w.set.Objects)
	case inProject:
		if err := s.openProject(ctx, w); err != nil {
			return err
		}
		if err := s.feedSecrets(ctx, w.project, f.namespace); err != nil {
			return err
		}
	}
	targets, err := s.applyAll(ctx, steps, f)
	if err != nil {
		return err
	}
	if !f.follow || len(targets) == 0 {
		return a.applied(steps)
	}
	return s.followAll(ctx, targets)
}

// feedSecrets brings the project's Secrets in step with its files, before what uses them starts.
func (s *session) feedSecrets(ctx context.Context, p *project.Project, namespace string) error {
	for _, name := range slices.Sorted(maps.Keys(p.Secrets)) {
		values, err := secret.ReadFile(p.Secrets[name])
		if err != nil {
			return err
		}
		changed := false
		err = s.steady(ctx, func() (err error) {
			changed, err = secret.Feed(ctx, s.client.Core().Secrets(namespace), name, values)
			return err
		})
		if err != nil {
			return err
		}
		if changed {
			s.note("fed Secret %s from %s (%d keys)", name, relative([]string{p.Secrets[name]})[0], len(values))
		}
	}
	return nil
}

// openProject opens the project and its environment, which is found or made, to its pods.
func (s *session) openProject(ctx context.Context, w work) error {
	if w.env == nil {
		var err error
		if w.env, err = s.environment(ctx, w.project); err != nil {
			return err
		}
	}
	if w.env != nil {
		if err := s.drift(ctx, w.project, w.env); err != nil {
			return err
		}
	}
	if err := s.steady(ctx, func() error { return s.engine.RegisterProject(ctx, pyenv.Register(w.project, w.env)) }); err != nil {
		return fmt.Errorf("opening the project to its pods: %w", err)
	}
	return nil
}

// applyAll carries the plan out and returns what there is to follow.
func (s *session) applyAll(ctx context.Context, steps []apply.Step, f *runFlags) ([]follow.Target, error) {
	var targets []follow.Target
	for _, step := range steps {
		if step.Action == apply.Replaced {
			s.note("%s %s; it is made again", step.Object, past(step))
		}
		began := time.Now()
		var applied *unstructured.Unstructured
		do := func() (err error) {
			applied, err = s.client.Do(ctx, step, f.Options)
			return err
		}
		err := do()
		if apply.Transient(err) && step.Object.GetName() != "" { // a generated name would make a second object
			err = s.steady(ctx, do)
		}
		if err != nil {
			return nil, err
		}
		s.note("%s %s", step.Action, name(applied))
		if step.Runnable == nil {
			continue
		}
		resource, err := s.client.Resource(applied)
		if err != nil {
			return nil, err
		}
		if step.Action == apply.Joined {
			began = time.Time{}
		}
		targets = append(targets, follow.Target{Object: applied, Runnable: step.Runnable, Resource: resource, Core: s.client.Core(), Since: began})
	}
	return targets, nil
}

// past says how the run stood that gives way.
func past(s apply.Step) string {
	switch s.Was {
	case runnable.Succeeded, runnable.Failed:
		return fmt.Sprintf("of an earlier run has ended (%s)", s.Was)
	}
	return fmt.Sprintf("of an earlier run is ended (it was %s)", s.Was)
}

func name(u *unstructured.Unstructured) string { return u.GetKind() + " " + u.GetName() }

// applied closes a run that is not followed.
func (a *app) applied(steps []apply.Step) error {
	if a.output != "" {
		type line struct {
			Kind      string       `json:"kind"`
			Namespace string       `json:"namespace,omitempty"`
			Name      string       `json:"name"`
			Action    apply.Action `json:"action"`
		}
		var list []line
		for _, s := range steps {
			list = append(list, line{s.Object.GetKind(), s.Object.GetNamespace(), s.Object.GetName(), s.Action})
		}
		return printAs(a.Out, a.output, list)
	}
	for _, s := range steps {
		if s.Runnable != nil {
			a.note("next: studio logs %s -f", s.Object.GetName())
		}
	}
	return nil
}

// followAll follows all runs at once; the first exit code that is not 0 counts.
func (s *session) followAll(ctx context.Context, targets []follow.Target) error {
	out := s.Out
	if s.output != "" {
		out = s.Err // the output is the summary
	}
	screen := newScreen(out, s.note)
	results := make([]*follow.Result, len(targets))
	errs := make([]error, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() { results[i], errs[i] = follow.Run(ctx, t, screen) })
	}
	all.Wait()
	if ctx.Err() != nil {
		s.detach(targets)
		return &exitError{code: detached}
	}
	code := 0
	var summaries []summary
	for i, t := range targets {
		if errors.Is(errs[i], follow.ErrDeleted) {
			return fail(fmt.Errorf("%s was deleted while it ran", name(t.Object)), "run it again: studio run")
		}
		if errs[i] != nil {
			return errs[i]
		}
		summaries = append(summaries, s.summarize(ctx, s.client, t, results[i], screen))
		if code == 0 {
			code = results[i].ExitCode
		}
	}
	if err := s.printSummaries(summaries); err != nil {
		return err
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// detach says what goes on and how to come back to it.
func (a *app) detach(targets []follow.Target) {
	for _, t := range targets {
		a.note("\nDetached; %s goes on. Follow it again: studio logs %s/%s -f   End it: studio down, or kubectl delete %s %s",
			name(t.Object), strings.ToLower(t.Object.GetKind()), t.Object.GetName(), strings.ToLower(t.Object.GetKind()), t.Object.GetName())
	}
}

// printObjects writes what would be applied.
func printObjects(w io.Writer, form string, objects []manifests.Object) error {
	if form == "json" {
		list := []any{}
		for _, o := range objects {
			list = append(list, o.Object)
		}
		return printAs(w, form, map[string]any{"apiVersion": "v1", "kind": "List", "items": list})
	}
	for i, o := range objects {
		out, err := yaml.Marshal(o.Object)
		if err != nil {
			return fmt.Errorf("writing %s: %w", o, err)
		}
		if i > 0 {
			fmt.Fprintln(w, "---")
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
	return nil
}
