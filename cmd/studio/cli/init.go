package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/examples"
	"github.com/mlstudio/studio/project"
	"github.com/mlstudio/studio/project/scaffold"
)

type initFlags struct{ template, name string }

func (a *app) initialize() *cobra.Command {
	f := &initFlags{}
	templates, err := scaffold.Templates(examples.Files)
	if err != nil {
		panic(err) // a fault of the build: the templates are in the program
	}
	var names []string
	list := ""
	for _, t := range templates {
		names = append(names, t.Name)
		list += fmt.Sprintf("\n  %-12s %s", t.Name, t.About)
	}
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Start a project: declare what a folder holds, or copy a template",
		Long: "Without a template it looks for manifests, scripts, notebooks and requirements in the folder and writes\n" +
			project.FileName + ". With one it fills the folder with an example that runs. It never changes a file that is there.\n\n" +
			"Templates:" + list,
		Example: "  studio init\n  studio init --template digits my-digits && studio run my-digits",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return a.start(dir, f, templates)
		},
	}
	cmd.Flags().StringVarP(&f.template, "template", "t", "", "start from an example: "+strings.Join(names, ", "))
	cmd.Flags().StringVar(&f.name, "name", "", "the project's name; default: the folder's")
	_ = cmd.RegisterFlagCompletionFunc("template", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// started is what init tells programs.
type started struct {
	Name  string          `json:"name"`
	Dir   string          `json:"dir"`
	Files []string        `json:"files"`
	Found *scaffold.Found `json:"found,omitempty"`
}

func (a *app) start(dir string, f *initFlags, templates []scaffold.Template) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	s := started{Name: f.name, Dir: abs}
	if s.Name == "" {
		s.Name = project.NameFor(filepath.Base(abs))
	} else if s.Name != project.NameFor(s.Name) {
		return fail(fmt.Errorf("%q is no name that Kubernetes takes", s.Name), "use lower case letters, digits and dashes: --name "+project.NameFor(s.Name))
	}
	next := []string{"studio run " + dir}
	if f.template != "" {
		t, err := pick(templates, f.template)
		if err != nil {
			return err
		}
		if s.Files, err = scaffold.Copy(t, abs, s.Name); err != nil {
			return err
		}
		if notebooks := withSuffix(s.Files, ".ipynb"); len(notebooks) > 0 {
			next = []string{"studio run " + filepath.Join(dir, notebooks[0])}
		}
	} else {
		if info, err := os.Stat(abs); errors.Is(err, os.ErrNotExist) {
			return fail(fmt.Errorf("there is no folder %s", dir), "make it, or fill a new one: studio init --template "+templates[0].Name+" "+dir)
		} else if err == nil && !info.IsDir() {
			return fail(fmt.Errorf("%s is a file", dir), "name its folder")
		}
		if s.Found, err = scaffold.Look(abs); err != nil {
			return err
		}
		if _, err = scaffold.Declare(abs, s.Name, s.Found); err != nil {
			return err
		}
		s.Files = []string{project.FileName}
		next = a.foundNext(dir, s.Found)
	}
	if a.output != "" {
		return printAs(a.Out, a.output, s)
	}
	for _, file := range s.Files {
		a.note("wrote %s", filepath.Join(dir, file))
	}
	a.note("next: %s", strings.Join(next, "   "))
	return nil
}

// foundNext says what was found, and how it runs.
func (a *app) foundNext(dir string, f *scaffold.Found) []string {
	for _, part := range []struct {
		what  string
		files []string
	}{{"manifests", f.Manifests}, {"scripts", f.Scripts}, {"notebooks", f.Notebooks}} {
		if len(part.files) > 0 {
			a.note("found %s: %s", part.what, some(part.files))
		}
	}
	if f.Requirements != "" {
		a.note("found requirements: %s", f.Requirements)
	}
	for _, file := range f.Unread {
		a.note("not read yet: %s; list what is needed in requirements.txt, or name the environment: environment.python", file)
	}
	switch {
	case len(f.Manifests) > 0:
		return []string{"studio run " + dir}
	case len(f.Scripts) > 0:
		return []string{"studio run " + filepath.Join(dir, f.Scripts[0])}
	case len(f.Notebooks) > 0:
		return []string{"studio run " + filepath.Join(dir, f.Notebooks[0])}
	}
	return []string{"put a script, a notebook or a manifest into the folder, then: studio run FILE"}
}

// some names the first few.
func some(files []string) string {
	const most = 5
	if len(files) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(files[:most], ", "), len(files)-most)
	}
	return strings.Join(files, ", ")
}

func pick(templates []scaffold.Template, name string) (scaffold.Template, error) {
	var names []string
	for _, t := range templates {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return scaffold.Template{}, fail(fmt.Errorf("there is no template %q", name), "use one of: "+strings.Join(names, ", "))
}

func withSuffix(files []string, suffix string) []string {
	var all []string
	for _, file := range files {
		if strings.HasSuffix(file, suffix) {
			all = append(all, file)
		}
	}
	return all
}

// schema prints the JSON Schema of studio.yaml.
func (a *app) schema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of " + project.FileName + ", for editors",
		Long:    "Prints the JSON Schema of " + project.FileName + ". An editor with YAML support then completes and checks the file.",
		Example: "  studio schema > .studio-schema.json\n  # first line of studio.yaml:  # yaml-language-server: $schema=.studio-schema.json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			raw, err := project.JSONSchema()
			if err != nil {
				return err
			}
			_, err = a.Out.Write(raw)
			return err
		},
	}
}
