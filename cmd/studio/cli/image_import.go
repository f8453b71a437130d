package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/images/archive"
)

func (a *app) imageImport() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "import FILE|FOLDER|-",
		Short: "Put images from an archive into the local store",
		Long: "Reads what `docker save`, `podman save`, `skopeo`, `ko` or `buildah` write: a tar archive, compressed or not,\n" +
			"with any number of images, or an OCI image layout as an archive or a folder. - reads standard input.\n" +
			"Pods find the images at once, whether or not the engine runs, and also with imagePullPolicy: Always.",
		Example: "  studio image import images.tar\n  docker save my-image:1.0 | studio image import -\n  studio image import --name my-image:1.0 layout/",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fail(fmt.Errorf("want one archive, got %d", len(args)), "studio image import FILE, or - for standard input")
			}
			return nil
		},
		RunE: a.insideNode(func(cmd *cobra.Command, args []string) error {
			done, err := a.importImages(cmd.Context(), args[0], name)
			if err != nil {
				return interrupted(cmd.Context(), err)
			}
			return a.printImported(done)
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "name for an archive's only image, in place of its own")
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// importImages adds all images of an archive, each known as soon as it is whole.
func (a *app) importImages(ctx context.Context, from, name string) ([]imageReport, error) {
	store, err := a.store()
	if err != nil {
		return nil, err
	}
	arc, err := a.openArchive(ctx, store, from)
	if err != nil {
		return nil, fail(fmt.Errorf("reading %s: %w", from, err), "give what `docker save IMAGE -o FILE` or `skopeo copy ... oci-archive:FILE` writes")
	}
	defer arc.Close()
	found, err := arc.Images(ctx)
	if err != nil {
		return nil, fail(fmt.Errorf("reading %s: %w", from, err), "give what `docker save IMAGE -o FILE` or `skopeo copy ... oci-archive:FILE` writes")
	}
	if name != "" && len(found) != 1 {
		return nil, fail(fmt.Errorf("%s holds %d images, and --name is for one", from, len(found)), "leave --name out: each image has the name that the archive gives it")
	}
	p := a.printer(a.Err)
	defer p.End()
	var done []imageReport
	for _, f := range found {
		names, err := namesOf(f, name)
		if err != nil {
			return done, err
		}
		r, err := a.addImage(ctx, store, f, names, p)
		if err != nil {
			return done, err
		}
		done = append(done, r)
	}
	// What an earlier, interrupted import left.
	return done, store.Collect()
}

func (a *app) openArchive(ctx context.Context, store *images.Store, from string) (*archive.Archive, error) {
	if from == "-" {
		if terminal(a.In) {
			return nil, errors.New("standard input is a terminal: pipe an archive into it")
		}
		return archive.Spool(ctx, a.In, store.Scratch())
	}
	return archive.Open(ctx, from, store.Scratch())
}

// namesOf are the names that an image gets, complete.
func namesOf(f archive.Found, name string) ([]string, error) {
	wanted := f.Names
	if name != "" {
		wanted = []string{name}
	}
	var names []string
	for _, n := range wanted {
		full, err := images.Normalize(n)
		if err != nil {
			return nil, fail(err, "give it one with --name, such as --name my-image:1.0")
		}
		names = append(names, full)
	}
	return names, nil
}

func (a *app) addImage(ctx context.Context, store *images.Store, f archive.Found, names []string, p progress.Printer) (imageReport, error) {
	label := "image"
	if len(names) > 0 {
		label = images.Familiar(names[0])
	}
	begun := time.Now()
	event := func(s localcluster.State, message string) {
		p.Event(localcluster.Event{Time: time.Now(), Phase: label, State: s, Message: message, Seconds: time.Since(begun).Seconds()})
	}
	event(localcluster.Started, "")
	img, err := store.Add(ctx, f.Image, images.Adding{Names: names, Pinned: true})
	if err != nil {
		err = fmt.Errorf("importing %s: %w", label, err)
		event(localcluster.Failed, err.Error())
		return imageReport{}, err
	}
	r, err := reportImage(store, img)
	if err != nil {
		return r, err
	}
	event(localcluster.Done, fmt.Sprintf("%s, %d layers, %s", shortID(img.ID), len(img.Chain), bytesOf(r.Disk)))
	for _, w := range r.Warnings {
		event(localcluster.Info, "warning: "+w)
	}
	if len(names) == 0 {
		event(localcluster.Info, fmt.Sprintf("the archive gives it no name: pods reach it as %s; import it again with --name NAME to give it one", img.ID))
	}
	return r, nil
}

func (a *app) printImported(done []imageReport) error {
	if a.output != "" {
		return printAs(a.Out, a.output, done)
	}
	for _, r := range done {
		names := r.Names
		if len(names) == 0 {
			names = []string{r.ID}
		}
		for _, n := range names {
			fmt.Fprintln(a.Out, n)
		}
	}
	return nil
}
