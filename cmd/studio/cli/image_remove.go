package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/images"
)

func (a *app) imageRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm IMAGE...",
		Aliases: []string{"remove"},
		Short:   "Remove images from the local store",
		Long: "Removes a name; an image whose last name goes is removed with the layers that no other image has. An ID\n" +
			"removes the image with all its names. Containers that run from it go on; their layers go with them.",
		Example: "  studio image rm my-image:1.0\n  studio image rm $(studio image ls -q)",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fail(fmt.Errorf("want images to remove, got none"), "studio image rm NAME or ID; `studio image ls` lists them")
			}
			return nil
		},
		ValidArgsFunction: a.completeImages,
		RunE: a.insideNode(func(cmd *cobra.Command, args []string) error {
			store, err := a.store()
			if err != nil {
				return err
			}
			removed := []string{}
			for _, arg := range args {
				names, err := store.Remove(arg)
				if err != nil {
					return unknownImage(err)
				}
				if len(names) == 0 {
					names = []string{arg}
				}
				removed = append(removed, names...)
			}
			if a.output != "" {
				return printAs(a.Out, a.output, map[string][]string{"removed": removed})
			}
			for _, n := range removed {
				a.note("Removed %s.", images.Familiar(n))
			}
			return nil
		}),
	}
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}
