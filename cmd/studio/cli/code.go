package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/mlstudio/studio/platform/launch"
	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/entry"
	"github.com/mlstudio/studio/project/manifests"
	"github.com/mlstudio/studio/project/pyenv"
	"github.com/mlstudio/studio/train"
)

// launchers are the kinds that code can become. A new pillar adds its own here.
var launchers = launch.Set(slices.Concat(launch.Builtin(), train.Launchers()))

// codeFlags say how code runs: only scripts, notebooks and functions have them.
type codeFlags struct {
	as, name, image, output      string
	cpu, memory                  string
	gpus, nodes                  int
	params, env, secrets, claims []string
	names                        []string // of all these flags
	skipCheck                    bool
}

func (c *codeFlags) add(cmd *cobra.Command) {
	own := pflag.NewFlagSet("code", pflag.ContinueOnError)
	own.StringVar(&c.as, "as", "job", "kind of object that code becomes: "+strings.Join(launchers.Words(), ", "))
	own.StringVar(&c.name, "name", "", "the run's name; default: the file's with a random end, so that runs do not meet")
	own.StringArrayVarP(&c.params, "param", "p", nil, "`name=value`: an option of a script, a variable of a notebook, an argument of a function")
	own.StringVar(&c.cpu, "cpu", "", "cores, such as 2 or 500m")
	own.StringVar(&c.memory, "memory", "", "memory, such as 4Gi")
	own.IntVar(&c.gpus, "gpus", 0, "GPUs of each node")
	own.IntVar(&c.nodes, "nodes", 1, "nodes that run it at once (with --as train)")
	own.StringArrayVar(&c.env, "env", nil, "`NAME=value`: an environment variable")
	own.StringArrayVar(&c.secrets, "secret", nil, "`NAME[/KEY]`: a Secret, or one key of it, as environment variables")
	own.StringArrayVar(&c.claims, "volume", nil, "`CLAIM:/path[:ro]`: a persistent volume claim and where the code sees it")
	own.StringVar(&c.image, "image", "", "image on a cluster that pulls images; default: Python's of the same version")
	own.StringVar(&c.output, "executed", "", "where an executed notebook goes, from the project's folder on; default: "+entry.Executed+"/")
	own.BoolVar(&c.skipCheck, "no-check", false, "do not look at the code first")
	own.VisitAll(func(f *pflag.Flag) { c.names = append(c.names, f.Name) })
	cmd.Flags().AddFlagSet(own)
	_ = cmd.RegisterFlagCompletionFunc("as", cobra.FixedCompletions(launchers.Words(), cobra.ShellCompDirectiveNoFileComp))
}

// refuse names a flag that manifests can not have.
func (c *codeFlags) refuse(given *pflag.FlagSet, rest []string) error {
	for _, name := range c.names {
		if given.Changed(name) {
			return fail(fmt.Errorf("--%s is for a script, a notebook or a function; manifests say it themselves", name), "write it into the manifest, or name a .py, .ipynb or .sh file")
		}
	}
	if len(rest) > 0 {
		return fail(fmt.Errorf("arguments after -- are for a script, got %q", rest[0]), "name a .py or .sh file before --")
	}
	return nil
}

// runCode runs one script, notebook or function of a project.
func (a *app) runCode(ctx context.Context, args, rest []string, f *runFlags) error {
	if len(args) > 1 {
		return fail(fmt.Errorf("%d things to run were named, one of them code", len(args)), "run them one after the other; arguments of a script come after --")
	}
	e, err := entry.Find(args[0])
	if err != nil {
		return err
	}
	p, err := project.Of(e.Path)
	if err != nil {
		return err
	}
	if p == nil {
		return fail(fmt.Errorf("%s lies in a folder too wide to open to pods", e.Path), "move it into a folder of its own")
	}
	spec, params, err := f.code.spec(e)
	if err != nil {
		return err
	}
	launcher, err := launchers.For(f.code.as)
	if err != nil {
		return fail(err, "use --as "+strings.Join(launchers.Words(), " or --as "))
	}
	command, err := e.Command(p.Dir, params, rest, f.code.output)
	if err != nil {
		return err
	}
	env, err := a.environment(ctx, p)
	if err != nil {
		return err
	}
	if env == nil && e.Kind != entry.Shell {
		return fail(errors.New("there is no Python on this machine"), "apt-get install python3")
	}
	if env != nil && !f.code.skipCheck {
		if err := e.Check(ctx, env.Python, params); err != nil {
			return err
		}
	}
	if e.Kind == entry.Notebook && !f.dryRun {
		if env, err = env.With(ctx, papermill, func(line string) { a.note("python: %s", line) }); err != nil {
			return err
		}
	}
	spec.Command, spec.Env = command.Args, append(command.Env, spec.Env...)
	if spec.Image == "" && env != nil && f.code.as == "job" {
		spec.Image = "python:" + minor(env.Version) + "-slim"
	}
	object, err := launcher.Object(spec)
	if err != nil {
		return err
	}
	began := time.Now()
	err = a.carryOut(ctx, work{project: p, set: manifests.Of(args[0], object), env: env}, f)
	if file := executed(p.Dir, command.Output, began); file != "" {
		a.note("executed notebook: %s", relative([]string{file})[0])
	}
	return err
}

// papermill executes notebooks in a kernel of the project's environment.
var papermill = pyenv.Tool{Name: "papermill", Modules: []string{"papermill", "ipykernel"}, Packages: []string{"papermill", "ipykernel"}}

// minor is 3.11 of 3.11.7.
func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// executed finds the copy that a notebook's run left; "" without one.
func executed(dir, output string, since time.Time) string {
	if output == "" {
		return ""
	}
	pattern := output
	if open := strings.Index(output, "$("); open >= 0 {
		pattern = output[:open] + "*" + path.Ext(output)
	}
	hits, _ := filepath.Glob(filepath.Join(dir, pattern))
	return newest(hits, since)
}

// spec reads what the flags say.
func (c *codeFlags) spec(e entry.Entry) (launch.Spec, []entry.Param, error) {
	s := launch.Spec{Name: c.name, Image: c.image, CPU: c.cpu, Memory: c.memory, GPUs: c.gpus, Nodes: c.nodes}
	if s.Name == "" {
		s.GenerateName = e.Name() + "-"
	}
	if c.nodes < 1 || c.gpus < 0 {
		return s, nil, fail(fmt.Errorf("--nodes %d --gpus %d: want at least one node and no less than no GPU", c.nodes, c.gpus), "leave them out for one node without a GPU")
	}
	if _, err := s.Resources(); err != nil {
		return s, nil, err
	}
	var params []entry.Param
	for _, text := range c.params {
		p, err := entry.ParseParam(text)
		if err != nil {
			return s, nil, err
		}
		params = append(params, p)
	}
	for _, text := range c.env {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return s, nil, fmt.Errorf("--env %q: want NAME=value", text)
		}
		s.Env = append(s.Env, corev1.EnvVar{Name: name, Value: value})
	}
	for _, text := range c.secrets {
		name, key, _ := strings.Cut(text, "/")
		s.Secrets = append(s.Secrets, launch.Secret{Name: name, Key: key})
	}
	for _, text := range c.claims {
		claim, at, _ := strings.Cut(text, ":")
		at, mode, _ := strings.Cut(at, ":")
		if claim == "" || !path.IsAbs(at) || mode != "" && mode != "ro" && mode != "rw" {
			return s, nil, fmt.Errorf("--volume %q: want CLAIM:/path or CLAIM:/path:ro", text)
		}
		s.Volumes = append(s.Volumes, launch.Volume{Claim: claim, Path: at, ReadOnly: mode == "ro"})
	}
	return s, params, nil
}

// newest is the file that was written last, none before since.
func newest(files []string, since time.Time) string {
	best, at := "", since
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && !info.ModTime().Before(at) {
			best, at = file, info.ModTime()
		}
	}
	return best
}
