package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/images/archive"
)

// importing is what `studio image import` is asked for.
type importing struct {
	from, name string
	rootfs     bool
	settings   archive.Settings
}

func (a *app) imageImport() *cobra.Command {
	var i importing
	cmd := &cobra.Command{
		Use:   "import FILE|FOLDER|- [NAME [-- COMMAND...]]",
		Short: "Put images from an archive, or a root file system, into the local store",
		Long: "Reads what `docker save`, `podman save`, skopeo, ko or buildah write: a tar archive, compressed or not, with any\n" +
			"number of images, or an OCI image layout as an archive or a folder. - reads standard input. NAME names an\n" +
			"archive's only image in place of its own name. With --rootfs it makes an image of a folder or a tar archive\n" +
			"with a root file system, such as debootstrap's, and of the command behind --.\n" +
			"Pods find the images at once, whether or not the engine runs, and also with imagePullPolicy: Always.",
		Example: "  studio image import images.tar\n  docker save my-image:1.0 | studio image import -\n" +
			"  studio image import --rootfs ./bookworm debian:mine -- /bin/bash",
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				args, i.settings.Command = args[:dash], args[dash:]
			}
			return i.arguments(args)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault // files
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.insideNode(func(cmd *cobra.Command, _ []string) error {
			done, err := a.importImages(cmd.Context(), i)
			if err != nil {
				return interrupted(cmd.Context(), err)
			}
			return a.printImported(done)
		}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&i.rootfs, "rootfs", false, "make an image of a root file system")
	flags.StringArrayVar(&i.settings.Env, "env", nil, "with --rootfs: NAME=VALUE of the image's environment; may be repeated")
	flags.StringVar(&i.settings.WorkingDir, "workdir", "", "with --rootfs: folder in which the image's command runs")
	flags.StringVar(&i.settings.User, "user", "", "with --rootfs: user, and maybe :group, as whom it runs")
	a.outputFlag(cmd, "json", "yaml")
	return cmd
}

// arguments takes what stands before --.
func (i *importing) arguments(args []string) error {
	switch len(args) {
	case 2:
		i.name = args[1]
		fallthrough
	case 1:
		i.from = args[0]
	default:
		return fail(fmt.Errorf("want one archive and maybe a name, got %d arguments", len(args)), "studio image import FILE, or - for standard input")
	}
	s := i.settings
	switch {
	case i.rootfs && i.name == "":
		return fail(errors.New("an image of a root file system needs a name"), fmt.Sprintf("studio image import --rootfs %s NAME", i.from))
	case !i.rootfs && (len(s.Command)+len(s.Env) > 0 || s.WorkingDir != "" || s.User != ""):
		return fail(errors.New("an archive's images have settings of their own"), "leave the command and the settings out, or give --rootfs with a root file system")
	}
	return nil
}

// importImages adds all images of an archive, each known as soon as it is whole.
func (a *app) importImages(ctx context.Context, i importing) ([]imageReport, error) {
	store, err := a.store()
	if err != nil {
		return nil, err
	}
	arc, found, err := a.findImages(ctx, store, i)
	if err != nil {
		return nil, err
	}
	defer arc.Close()
	if i.name != "" && len(found) != 1 {
		return nil, fail(fmt.Errorf("%s holds %d images, and one name is given", i.from, len(found)), "leave the name out: each image has the one that the archive gives it")
	}
	p := a.printer(a.Err)
	defer p.End()
	var done []imageReport
	for _, f := range found {
		names, err := namesOf(f, i.name)
		if err != nil {
			return done, err
		}
		r, err := a.addImage(ctx, store, f.Image, images.Adding{Names: names, Pinned: true}, p)
		if err != nil {
			return done, err
		}
		if len(names) == 0 {
			a.note("The archive gives the image no name: pods reach it as %s; import it again with a NAME to give it one.", r.ID)
		}
		done = append(done, r)
	}
	// What an earlier, interrupted import left.
	return done, store.Collect()
}

func (a *app) findImages(ctx context.Context, store *images.Store, i importing) (*archive.Archive, []archive.Found, error) {
	if i.from == "-" && terminal(a.In) {
		return nil, nil, fail(errors.New("standard input is a terminal, and no archive"), "pipe an archive into it: docker save IMAGE | studio image import -")
	}
	arc, found, err := a.openArchive(ctx, store.Scratch(), i)
	if err != nil {
		return nil, nil, fail(fmt.Errorf("reading %s: %w", i.from, err), "give what `docker save IMAGE -o FILE` or `skopeo copy ... oci-archive:FILE` writes, or --rootfs with a root file system")
	}
	return arc, found, nil
}

func (a *app) openArchive(ctx context.Context, scratch string, i importing) (arc *archive.Archive, found []archive.Found, err error) {
	if i.rootfs {
		var img v1.Image
		if i.from == "-" {
			arc, img, err = archive.RootfsFrom(ctx, a.In, scratch, i.settings)
		} else {
			arc, img, err = archive.Rootfs(ctx, i.from, scratch, i.settings)
		}
		return arc, []archive.Found{{Image: img}}, err
	}
	if i.from == "-" {
		arc, err = archive.Spool(ctx, a.In, scratch)
	} else {
		arc, err = archive.Open(ctx, i.from, scratch)
	}
	if err != nil {
		return nil, nil, err
	}
	if found, err = arc.Images(ctx); err != nil {
		arc.Close()
	}
	return arc, found, err
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
			return nil, fail(err, "give it one in small letters, such as my-image:1.0")
		}
		names = append(names, full)
	}
	return names, nil
}

// addImage adds one image and shows how it goes.
func (a *app) addImage(ctx context.Context, store *images.Store, img v1.Image, adding images.Adding, p progress.Printer) (imageReport, error) {
	label := "image"
	if len(adding.Names) > 0 {
		label = images.Familiar(adding.Names[0])
	}
	begun := time.Now()
	event := func(s localcluster.State, message string) {
		p.Event(localcluster.Event{Time: time.Now(), Phase: label, State: s, Message: message, Seconds: time.Since(begun).Seconds()})
	}
	event(localcluster.Started, "")
	adding.Progress = func(s images.Step) {
		event(localcluster.Started, fmt.Sprintf("layer %d of %d, %s of %s", s.Layer, s.Layers, bytesOf(s.Bytes), bytesOf(s.Size)))
	}
	added, err := store.Add(ctx, img, adding)
	if err != nil {
		err = fmt.Errorf("adding image %s: %w", label, err)
		event(localcluster.Failed, err.Error())
		return imageReport{}, err
	}
	r, err := reportImage(store, added)
	if err != nil {
		return r, err
	}
	layers := "layers"
	if r.Layers == 1 {
		layers = "layer"
	}
	event(localcluster.Done, fmt.Sprintf("%s, %d %s, %s", shortID(r.ID), r.Layers, layers, bytesOf(r.Disk)))
	for _, w := range r.Warnings {
		event(localcluster.Info, "warning: "+w)
	}
	return r, nil
}

func (a *app) printImported(done []imageReport) error {
	if a.output != "" {
		return printAs(a.Out, a.output, done)
	}
	told := map[string]bool{}
	for _, r := range done {
		names := r.Names
		if len(names) == 0 {
			names = []string{r.ID}
		}
		for _, n := range names {
			// One image under several names comes several times.
			if !told[n] {
				told[n] = true
				fmt.Fprintln(a.Out, n)
			}
		}
	}
	return nil
}
