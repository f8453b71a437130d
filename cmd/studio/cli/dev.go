package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	engineclient "github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/apply"
	"github.com/mlstudio/studio/project/dev"
	"github.com/mlstudio/studio/project/follow"
)

func (a *app) dev() *cobra.Command {
	f := &runFlags{follow: true, loop: true}
	cmd := &cobra.Command{
		Use:   "dev [FILE | FOLDER] [-- ARGUMENT...]",
		Short: "Run a project and go on with each saved file",
		Long: "Runs what `studio run` would, shows the output of all its pods, watches the project's folder and says what each\n" +
			"saved file leads to: it is in the pods; an ended run starts again; manifests are applied again. A run under way\n" +
			"is never ended by a save, unless `changes` in studio.yaml says so.\n\n" +
			"Keys: r makes the runs again, o opens the folder, h lists the keys, q leaves; what runs goes on. Without a\n" +
			"terminal it prints lines until it is interrupted.",
		Example: "  studio dev examples/digits\n  studio dev train.py -- --epochs 3",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.runArgs(cmd, args, f) },
	}
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "default", "namespace of objects that name none")
	cmd.Flags().BoolVar(&f.Force, "force-conflicts", false, "take over fields that another program set")
	_ = cmd.RegisterFlagCompletionFunc("namespace", a.completeNamespaces)
	f.code.add(cmd)
	return cmd
}

// loop is one `studio dev`.
type loop struct {
	*session
	work   work
	flags  *runFlags
	rules  dev.Rules
	id     string
	screen *screen

	following sync.WaitGroup
	stop      context.CancelFunc       // of the followers
	under     map[string]follow.Target // under way, by name
	ended     chan ending
	round     int
}

// ending is how one run ended; of an earlier round it does not count.
type ending struct {
	round  int
	target follow.Target
	result *follow.Result
	err    error
}

// loop runs, watches and reacts until ctx ends or the person leaves.
func (s *session) loop(ctx context.Context, w work, f *runFlags) error {
	l := &loop{session: s, work: w, flags: f, rules: dev.For(w.project), id: projects.NewID(w.project.Name, w.project.Dir),
		screen: newScreen(s.Out, s.note), ended: make(chan ending), under: map[string]follow.Target{}, stop: func() {}}
	ctx, cancel := context.WithCancel(ctx)
	defer l.following.Wait()
	defer cancel()
	if err := s.openProject(ctx, w); err != nil {
		return err
	}
	if err := s.feedSecrets(ctx, w.project, f.namespace); err != nil {
		return err
	}
	changes := l.watch(ctx)
	pressed, restore := keys(ctx, s.In)
	defer restore()
	l.start(ctx, apply.Options{Force: f.Force})
	for {
		select {
		case <-ctx.Done():
			l.say("left; what runs goes on")
			return nil
		case e := <-l.ended:
			l.end(e)
		case files := <-changes:
			l.change(ctx, files)
		case key := <-pressed:
			if !l.key(ctx, key) {
				l.say("left; what runs goes on. `studio dev` comes back to it")
				return nil
			}
		}
	}
}

func (l *loop) say(format string, args ...any) { l.screen.Notice(fmt.Sprintf(format, args...)) }

// complain says an error of one step; the loop goes on.
func (l *loop) complain(err error) {
	for _, line := range strings.Split(err.Error(), "\n") {
		l.say("%s", line)
	}
}

// start applies what is to run and follows it. It says whether that went well.
func (l *loop) start(ctx context.Context, opt apply.Options) bool {
	var steps []apply.Step
	err := l.steady(ctx, func() (err error) {
		steps, err = l.client.Plan(ctx, l.work.set, opt)
		return err
	})
	var running *apply.Running
	if errors.As(err, &running) {
		l.say("%v; it goes on. Press r to end it and start the new one", err)
		return false
	}
	if err != nil {
		l.complain(err)
		return false
	}
	flags := *l.flags
	flags.Options = opt
	l.stop()
	if opt.Replace {
		l.endGenerated(ctx)
	}
	l.round++
	clear(l.under)
	var followed context.Context
	followed, l.stop = context.WithCancel(ctx)
	targets, err := l.applyAll(ctx, steps, &flags)
	if err != nil {
		l.complain(err)
		return false
	}
	for _, t := range targets {
		l.under[name(t.Object)] = t
		round := l.round
		l.following.Go(func() {
			r, err := follow.Run(followed, t, l.screen)
			select {
			case l.ended <- ending{round, t, r, err}:
			case <-ctx.Done():
			}
		})
	}
	return true
}

// endGenerated ends the runs under way whose names the server made up: the next
// one would not take their place.
func (l *loop) endGenerated(ctx context.Context) {
	background := metav1.DeletePropagationBackground
	for _, t := range l.under {
		if t.Object.GetGenerateName() == "" {
			continue
		}
		err := t.Resource.Delete(ctx, t.Object.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			l.complain(fmt.Errorf("ending %s: %w", name(t.Object), err))
		}
	}
}

func (l *loop) end(e ending) {
	if e.round != l.round {
		return
	}
	delete(l.under, name(e.target.Object))
	switch {
	case errors.Is(e.err, follow.ErrDeleted):
		l.say("%s was deleted; press r to make it again", name(e.target.Object))
	case e.err != nil:
		l.complain(e.err)
	default:
		o := e.result.Outcome
		l.say("%s has ended (%s) after %s %s", name(e.target.Object), o.State, seconds(e.result.Took), o.Reason)
	}
}

// change does what saved files lead to, and says what that was and how long it took.
func (l *loop) change(ctx context.Context, f engineclient.Files) {
	files := append(append(append([]string{}, f.Added...), f.Modified...), f.Removed...)
	what, because := l.rules.Decide(files)
	if what == dev.Nothing {
		return
	}
	saved := fewOf(because)
	if f.Count > len(files) {
		saved = fmt.Sprintf("%d files", f.Count)
	}
	if what == dev.Again && len(l.under) > 0 {
		what = dev.Appear
	}
	switch what {
	case dev.Appear:
		l.say("%s: in the pods%s (%s)", saved, map[bool]string{true: "; what runs goes on, r makes it again"}[len(l.under) > 0], seconds(time.Since(f.Time)))
	case dev.Again:
		if l.start(ctx, apply.Options{Force: l.flags.Force}) {
			l.say("%s: ran again (%s)", saved, seconds(time.Since(f.Time)))
		}
	case dev.Restart:
		if l.start(ctx, apply.Options{Force: l.flags.Force, Replace: true}) {
			l.say("%s: ended and made again, as studio.yaml says (%s)", saved, seconds(time.Since(f.Time)))
		}
	case dev.Apply:
		if l.reload(ctx) && l.start(ctx, apply.Options{Force: l.flags.Force}) {
			l.say("%s: applied again (%s)", saved, seconds(time.Since(f.Time)))
		}
	}
}

// reload reads the project and its manifests again.
func (l *loop) reload(ctx context.Context) bool {
	p, err := project.Open(l.work.project.Dir)
	if err != nil {
		l.complain(err)
		return false
	}
	w := l.work
	w.project, w.env = p, nil
	if w.reload != nil {
		if w.set, err = w.reload(); err == nil {
			err = annotate(w.set.Objects, l.id)
		}
	}
	if err == nil {
		err = l.openProject(ctx, w)
	}
	if err == nil {
		err = l.feedSecrets(ctx, p, l.flags.namespace)
	}
	if err != nil {
		l.complain(err)
		return false
	}
	l.work, l.rules = w, dev.For(p)
	return true
}

// key does what a key stands for; false to leave.
func (l *loop) key(ctx context.Context, key byte) bool {
	switch key {
	case 'q', 4: // Ctrl-D
		return false
	case 'r':
		begin := time.Now()
		if l.reload(ctx) && l.start(ctx, apply.Options{Force: l.flags.Force, Replace: true}) {
			l.say("made again (%s)", seconds(time.Since(begin)))
		}
	case 'o':
		l.say("%s", l.work.project.Dir)
		if path, err := exec.LookPath("xdg-open"); err == nil {
			if cmd := exec.Command(path, l.work.project.Dir); cmd.Start() == nil {
				go cmd.Wait()
			}
		}
	case 'h', '?':
		l.say("r: end the runs and make them again   o: open the folder   q: leave, what runs goes on")
	}
	return true
}

// watch has the engine tell of the project's files, also after it was away.
func (l *loop) watch(ctx context.Context) <-chan engineclient.Files {
	out := make(chan engineclient.Files)
	engine := engineclient.New(l.dir)
	said := map[string]bool{}
	once := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !said[text] {
			said[text] = true
			l.say("%s", text)
		}
	}
	go func() {
		for ctx.Err() == nil {
			err := engine.Watch(ctx, 0, func(m engineclient.Message) bool {
				if m.Files != nil && m.Files.Project == l.id {
					select {
					case out <- *m.Files:
					case <-ctx.Done():
					}
				}
				if m.State != nil {
					for _, w := range m.State.Watched {
						if w.Project == l.id {
							report(w, once)
						}
					}
				}
				return ctx.Err() == nil
			}, l.id)
			if ctx.Err() != nil {
				return
			}
			l.say("the engine is away (%v); files saved meanwhile are in the pods, but lead to nothing", err)
			clear(said)
			select { // Up waits for the engine; this keeps one that can not start from being asked all the time
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			if err := l.steady(ctx, func() error { _, err := engine.State(ctx); return err }); err != nil && ctx.Err() == nil {
				l.complain(err)
			}
		}
	}()
	return out
}

// report says how the watching stands.
func report(w engineclient.Watched, say func(string, ...any)) {
	switch {
	case w.Error != "":
		say("%s is not watched: %s", w.Dir, w.Error)
	case w.Ready:
		say("watching %d files in %s; press h for the keys", w.Files, w.Dir)
	}
	for _, n := range w.Notes {
		say("%s", n)
	}
}

// fewOf names a few of many files.
func fewOf(files []string) string {
	const few = 3
	if len(files) <= few {
		return strings.Join(files, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(files[:few], ", "), len(files)-few)
}

// seconds is a short time as people read it.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
