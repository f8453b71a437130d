package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mlstudio/studio/project/secret"
)

func (a *app) secret() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Keep passwords and tokens for runs, without showing them",
		Long: "Secrets are Kubernetes Secrets. `studio run train.py --secret NAME` gives a run their keys as environment variables.\n" +
			"A project can feed them from files: secrets in studio.yaml names a .env file for each. Values are never shown.",
		Example: "  studio secret set hub TOKEN\n  studio secret set db --from-file .env\n  studio run train.py --secret hub",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.secretSet(), a.secretList(), a.secretRemove())
	return cmd
}

func (a *app) secretSet() *cobra.Command {
	var namespace, file string
	cmd := &cobra.Command{
		Use:   "set NAME [KEY | KEY=VALUE]...",
		Short: "Set keys of a Secret; the others stay",
		Long: "Sets keys of a Secret; the others stay. A KEY without a value is asked for, without showing it, or is a line of the\n" +
			"standard input: then it is in no history of commands.",
		Example: "  studio secret set hub TOKEN\n  pass hub | studio secret set hub TOKEN\n  studio secret set db --from-file .env",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) == 1 && file == "" {
				return fail(errors.New("want a Secret's name and its keys"), "studio secret set NAME KEY, or --from-file .env")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			values := map[string]string{}
			if file != "" {
				var err error
				if values, err = secret.ReadFile(file); err != nil {
					return err
				}
			}
			in := bufio.NewReader(a.In)
			for i, arg := range args[1:] {
				if !strings.Contains(arg, "=") {
					value, err := a.ask(in, arg)
					if err != nil {
						return err
					}
					arg += "=" + value
				}
				key, value, err := secret.ParsePair(arg)
				if err != nil {
					return fmt.Errorf("argument %d: %w", i+2, err)
				}
				values[key] = value
			}
			s, err := a.session(cmd.Context(), namespace)
			if err != nil {
				return err
			}
			changed, err := secret.Set(cmd.Context(), s.client.Core().Secrets(namespace), args[0], values)
			if err != nil {
				return err
			}
			if !changed {
				a.note("Secret %s is unchanged", args[0])
				return nil
			}
			a.note("set %d keys of Secret %s; a run gets them by --secret %s", len(values), args[0], args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "from-file", "", "a file with lines NAME=value")
	a.namespaceFlag(cmd, &namespace, "namespace of the Secret")
	return cmd
}

// ask reads one value: unseen from a terminal, else a line of the input.
func (a *app) ask(in *bufio.Reader, key string) (string, error) {
	if f, ok := a.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(a.Err, "%s: ", key)
		value, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.Err)
		return string(value), err
	}
	line, err := in.ReadString('\n')
	if line == "" && err != nil {
		return "", fail(fmt.Errorf("no value for %s came on the standard input", key), "write KEY=VALUE, or pipe one line for each key")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func (a *app) secretList() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "Name the Secrets and their keys, never values",
		Example: "  studio secret list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.session(cmd.Context(), namespace)
			if err != nil {
				return err
			}
			all, err := secret.List(cmd.Context(), s.client.Core().Secrets(namespace))
			if err != nil {
				return err
			}
			if a.output != "" {
				return printAs(a.Out, a.output, all)
			}
			for _, info := range all {
				fmt.Fprintf(a.Out, "%s  %s\n", info.Name, strings.Join(info.Keys, ", "))
			}
			if len(all) == 0 {
				a.note("no Secret yet; next: studio secret set NAME KEY")
			}
			return nil
		},
	}
	a.namespaceFlag(cmd, &namespace, "namespace of the Secret")
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

func (a *app) secretRemove() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		Short:   "Remove Secrets that Studio made",
		Example: "  studio secret rm hub",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.session(cmd.Context(), namespace)
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := secret.Remove(cmd.Context(), s.client.Core().Secrets(namespace), name); err != nil {
					return err
				}
				a.note("removed Secret %s", name)
			}
			return nil
		},
	}
	a.namespaceFlag(cmd, &namespace, "namespace of the Secret")
	return cmd
}
