// Command images builds the images that upstream's conformance tests use,
// without a registry or a container engine: a Debian tree, the programs built
// from our go.mod, and upstream's own data files. It writes one archive as
// `docker save` does, for `studio image import` and `kind load image-archive`.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/mlstudio/studio/test/ociimage"
)

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, names io.Reader) error {
	s := sources{base: &ociimage.Base{}}
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.StringVar(&s.base.Tar, "base", "", "tar of a Debian tree")
	flags.StringVar(&s.programs, "programs", "", "folder of the programs that run inside the images")
	flags.StringVar(&s.upstream, "upstream", "", "upstream's folder test/images")
	out := flags.String("o", "", "archive to write")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "images [flags] < NAMES: builds those images of the list that it knows")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.base.Tar == "" || s.programs == "" || s.upstream == "" || *out == "" {
		return errors.New("-base, -programs, -upstream and -o are all needed")
	}
	recipes, err := s.recipes()
	if err != nil {
		return err
	}
	return ociimage.Save(*out, names, recipes)
}
