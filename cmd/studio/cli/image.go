package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlstudio/studio/localcluster/holder/namespaces"
	"github.com/mlstudio/studio/localcluster/images"
)

func (a *app) image() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Import, pull, list and remove real images",
		Long: "A pod whose image is in the local store runs from that image's own root file system; for any other this\n" +
			"machine stands in (see `studio up --images`). No container engine and no registry is needed.",
		Example: "  docker save my-image | studio image import -\n  studio image ls",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.imageImport(), a.imagePull(), a.imageList(), a.imageRemove())
	return cmd
}

// store opens the data directory's image store, which needs no engine.
func (a *app) store() (*images.Store, error) {
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	if err := dir.Init(); err != nil {
		return nil, err
	}
	return images.Open(dir.Images())
}

// insideNode runs a verb where it has all ids that the node's pods have: as a
// plain user in a copy of this program in a user namespace like the node's.
func (a *app) insideNode(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if namespaces.Inside() {
			return run(cmd, args)
		}
		again := exec.Command("/proc/self/exe", a.args...)
		again.Stdin, again.Stdout, again.Stderr = a.In, a.Out, a.Err
		err := namespaces.Again(cmd.Context(), again)
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return &exitError{code: max(exit.ExitCode(), 1)} // it has said why
		}
		return err
	}
}

// completeImages offers the names in the store.
func (a *app) completeImages(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	dir, err := a.dir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if _, err := os.Stat(dir.Images()); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	store, err := images.Open(dir.Images())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := store.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, img := range all {
		for _, n := range img.Names {
			names = append(names, images.Familiar(n))
		}
		if len(img.Names) == 0 {
			names = append(names, shortID(img.ID))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// shortID is how an ID is shown to people.
func shortID(id string) string {
	hex := strings.TrimPrefix(id, "sha256:")
	return hex[:min(12, len(hex))]
}

// bytesOf prints a size as people read it.
func bytesOf(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}

// imageReport is one image for programs.
type imageReport struct {
	ID      string    `json:"id"`
	Digest  string    `json:"digest"`
	Names   []string  `json:"names"`
	Size    int64     `json:"size"`
	Disk    int64     `json:"disk"`
	Layers  int       `json:"layers"`
	Pinned  bool      `json:"pinned"`
	Added   time.Time `json:"added,omitzero"`
	Created time.Time `json:"created,omitzero"`
	// Warnings say what of the image is not as it was built.
	Warnings []string `json:"warnings,omitempty"`
}

func reportImage(store *images.Store, img *images.Image) (imageReport, error) {
	losses, err := store.Losses(img)
	if err != nil {
		return imageReport{}, err
	}
	r := imageReport{
		ID: img.ID, Digest: img.Digest, Names: img.Names, Size: img.Size, Disk: losses.Bytes, Layers: len(img.Chain),
		Pinned: img.Pinned, Added: img.Added, Created: img.Created,
	}
	if r.Names == nil {
		r.Names = []string{}
	}
	if losses.Owners > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d of its files belong to other users and are root's here, as this account has one user id: pods that run as another user may fail; install the package uidmap, give this account lines in /etc/subuid and /etc/subgid, then `studio down` and `studio up`", losses.Owners))
	}
	if losses.Devices > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d device nodes are left out, which a plain user can not make", losses.Devices))
	}
	return r, nil
}

// imageName is a failure's subject as a person wrote it.
func unknownImage(err error) error {
	if errors.Is(err, images.ErrUnknown) {
		return fail(err, "`studio image ls` lists the images, `studio image import FILE` adds some")
	}
	return err
}

// interrupted keeps the cause of an end by the user short.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// imagesFlag adds --images.
func imagesFlag(cmd *cobra.Command, into *string) {
	var names []string
	for _, m := range images.Modes {
		names = append(names, string(m))
	}
	cmd.Flags().StringVar(into, "images", "", "what pods run from, remembered for later starts: auto (an image of the local store, else this machine stands in; the default), "+
		"oci (real images alone, pulled where they are missing), host (this machine alone)")
	_ = cmd.RegisterFlagCompletionFunc("images", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

// imageModes says in words what pods run from.
var imageModes = map[string]string{
	string(images.Auto): "auto: those of the local store; this machine stands in for others",
	string(images.OCI):  "oci: those of the local store and of registries alone",
	string(images.Host): "host: this machine stands in for all",
}

// chooseImages remembers what --images says, and takes effect with the next
// container also where the engine runs.
func (a *app) chooseImages(text string) error {
	if text == "" {
		return nil
	}
	mode, err := images.ParseMode(text)
	if err != nil {
		return fail(err, "studio up --images=auto")
	}
	store, err := a.store()
	if err != nil {
		return err
	}
	return store.SetMode(mode)
}
