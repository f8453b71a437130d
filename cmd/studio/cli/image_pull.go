package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/images/registry"
)

func (a *app) imagePull() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Fetch images from a registry into the local store",
		Long: "Fetches by this machine's own network, also from a registry on localhost, with what `docker login` has stored.\n" +
			"Pods then need no registry for the image; pulling it again brings a newer one.",
		Example: "  studio image pull python:3.13-slim\n  studio image pull localhost:5000/my-image:1.0",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fail(errors.New("want images to pull, got none"), "studio image pull NAME")
			}
			return nil
		},
		RunE: a.insideNode(func(cmd *cobra.Command, args []string) error {
			store, err := a.store()
			if err != nil {
				return err
			}
			p := a.printer(a.Err)
			defer p.End()
			var done []imageReport
			for _, arg := range args {
				name, err := images.Normalize(arg)
				if err != nil {
					return fail(err, "give a name such as python:3.13-slim")
				}
				img, err := registry.Image(cmd.Context(), name, registry.Credentials{})
				if err != nil {
					return interrupted(cmd.Context(), fail(fmt.Errorf("pulling %s: %w", images.Familiar(name), err), "check the name and the network; for a private registry `docker login` first; without one use `studio image import`"))
				}
				r, err := a.addImage(cmd.Context(), store, img, images.Adding{Names: []string{name}, Pinned: true}, p)
				if err != nil {
					return interrupted(cmd.Context(), err)
				}
				done = append(done, r)
			}
			return a.printImported(done)
		}),
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}
