package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mlstudio/studio/project/apply"
)

// patience is how long a person waits for a key, or a status, to show something.
const patience = 2 * time.Second

// peek asks an engine that runs already; errors give no suggestions, nothing more.
func (a *app) peek(ctx context.Context, ask func(context.Context, *apply.Client) error) {
	if ctx == nil {
		ctx = context.Background() // the shell's helper commands have none
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, dir, err := a.open(defaultDriver)
	if err != nil {
		return
	}
	if status, err := e.Status(ctx); err != nil || !status.Running {
		return
	}
	silent := &app{Streams: a.Streams, quiet: true}
	client, err := silent.connect(dir, "default")
	if err != nil {
		return
	}
	_ = ask(ctx, client)
}

func (a *app) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	a.peek(cmd.Context(), func(ctx context.Context, c *apply.Client) error {
		list, err := c.Core().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, ns := range list.Items {
			names = append(names, ns.Name)
		}
		return nil
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
