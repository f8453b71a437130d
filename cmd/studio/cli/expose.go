package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/project/apply"
)

func (a *app) expose() *cobra.Command {
	var namespace string
	var port uint16
	cmd := &cobra.Command{
		Use:   "expose SERVICE|POD[:PORT]",
		Short: "Open a port of this machine that leads to a service or pod",
		Long: "Opens a port on 127.0.0.1, and on no other address, that leads to a service or pod. It outlives this command\n" +
			"and is there again after a restart, until `studio expose rm`. A service's pods may come and go meanwhile.\n" +
			"The port is that of the service where it is free, else any; --port chooses it.",
		Example: "  studio expose web                     # a service of the namespace default, else a pod\n" +
			"  studio expose svc/web:http --port 8080 -n team\n  studio expose pod/notebook-0:8888\n" +
			"  curl http://$(studio expose web -q)\n  studio expose list\n  studio expose rm web",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fail(fmt.Errorf("want one service or pod, got %d", len(args)), "studio expose SERVICE, or studio expose list")
			}
			return nil
		},
		ValidArgsFunction: a.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.openPort(cmd.Context(), client.ExposeRequest{Namespace: namespace, Ref: args[0], LocalPort: int(port)})
		},
	}
	a.namespaceFlag(cmd, &namespace, "namespace of the service or pod")
	cmd.Flags().Uint16Var(&port, "port", 0, "port on 127.0.0.1 (default: the service's, where it is free)")
	_ = cmd.RegisterFlagCompletionFunc("port", cobra.NoFileCompletions)
	a.outputFlag(cmd, "json", "yaml")
	cmd.AddCommand(a.exposeList(), a.exposeRemove())
	return cmd
}

func (a *app) namespaceFlag(cmd *cobra.Command, into *string, usage string) {
	cmd.Flags().StringVarP(into, "namespace", "n", "default", usage)
	_ = cmd.RegisterFlagCompletionFunc("namespace", a.completeNamespaces)
}

// openPort exposes and says where.
func (a *app) openPort(ctx context.Context, r client.ExposeRequest) error {
	_, dir, err := a.ensure(ctx)
	if err != nil {
		return err
	}
	x, err := client.New(dir).Expose(ctx, r)
	switch {
	case err != nil:
		return explained(err)
	case a.output != "":
		return printAs(a.Out, a.output, x)
	case a.quiet:
		_, err = fmt.Fprintln(a.Out, x.Address)
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s leads to %s\n", x.Address, targetOf(x))
	if x.State == client.ExposureWaiting {
		a.note("  nothing answers yet: %s", x.Message)
	}
	a.note("  next  curl http://%s · studio expose list · studio expose rm %d", x.Address, x.LocalPort)
	return err
}

func targetOf(x client.Exposure) string {
	return fmt.Sprintf("%s %s/%s port %s", strings.ToLower(x.Kind), x.Namespace, x.Name, x.Port)
}

// explained gives a refusal of the engine its way out.
func explained(err error) error {
	var r *client.Refusal
	switch {
	case errors.As(err, &r):
		return fail(err, r.Cure)
	case errors.Is(err, client.ErrNotRunning):
		return fail(err, "studio up")
	}
	return err
}

func (a *app) exposeList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the ports that are open",
		Long:    "Lists the ports of 127.0.0.1 that lead into the cluster, and what stands behind each now.",
		Example: "  studio expose list\n  studio expose list -o json | jq -r '.[].address'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := a.exposures(cmd.Context())
			switch {
			case err != nil:
				return explained(err)
			case a.output != "":
				return printAs(a.Out, a.output, all)
			case len(all) == 0:
				a.note("Nothing is exposed. next: studio expose SERVICE")
				return nil
			}
			return printExposures(a.Out, all)
		},
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// exposures asks an engine that runs; it starts none.
func (a *app) exposures(ctx context.Context) ([]client.Exposure, error) {
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	return client.New(dir).Exposures(ctx)
}

func printExposures(w io.Writer, all []client.Exposure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tLEADS TO\tSTATE\t")
	for _, x := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Address, targetOf(x), x.State, x.Message)
	}
	return t.Flush()
}

func (a *app) exposeRemove() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:     "rm PORT|SERVICE|POD[:PORT]...",
		Aliases: []string{"remove"},
		Short:   "Close ports again",
		Long:    "Closes ports that were exposed, and the connections through them. A name closes all ports that lead to it.",
		Example: "  studio expose rm 8080\n  studio expose rm svc/web -n team",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fail(errors.New("name a port, a service or a pod"), "studio expose list")
			}
			return nil
		},
		ValidArgsFunction: a.completeExposed,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			gone := []client.Exposure{}
			for _, ref := range args {
				some, err := client.New(dir).Unexpose(cmd.Context(), namespace, ref)
				if err != nil {
					return explained(err)
				}
				gone = append(gone, some...)
			}
			if a.output != "" {
				return printAs(a.Out, a.output, gone)
			}
			for _, x := range gone {
				a.note("Closed %s, which led to %s.", x.Address, targetOf(x))
			}
			return nil
		},
	}
	a.namespaceFlag(cmd, &namespace, "namespace of the services and pods")
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// completeTargets offers services, then pods.
func (a *app) completeTargets(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	namespace, _ := cmd.Flags().GetString("namespace")
	var names []string
	a.peek(cmd.Context(), func(ctx context.Context, c *apply.Client) error {
		services, err := c.Core().Services(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, s := range services.Items {
			names = append(names, "svc/"+s.Name)
		}
		pods, err := c.Core().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			names = append(names, "pod/"+p.Name)
		}
		return nil
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeExposed offers the open ports, each with where it leads.
func (a *app) completeExposed(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background() // the shell's helper commands have none
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := a.exposures(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ports []string
	for _, x := range all {
		ports = append(ports, cobra.CompletionWithDesc(strconv.Itoa(x.LocalPort), targetOf(x)))
	}
	return ports, cobra.ShellCompDirectiveNoFileComp
}
