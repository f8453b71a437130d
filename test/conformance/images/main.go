// Command images builds the images that upstream's conformance tests use,
// without a registry or a container engine: a Debian tree, the programs built
// from our go.mod, and upstream's own data files. It writes one archive as
// `docker save` does, for `studio image import` and `kind load image-archive`.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, names io.Reader) error {
	var s sources
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.StringVar(&s.base, "base", "", "tar of a Debian tree")
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
	if s.base == "" || s.programs == "" || s.upstream == "" || *out == "" {
		return errors.New("-base, -programs, -upstream and -o are all needed")
	}
	all, err := build(&s, names)
	if err != nil {
		return err
	}
	if err := tarball.MultiRefWriteToFile(*out, all); err != nil {
		return fmt.Errorf("writing %s: %w", *out, err)
	}
	return nil
}

// build makes an image for each name on the list that a recipe is for. A recipe
// that no name asks for is an error: upstream renamed what it is for.
func build(s *sources, names io.Reader) (map[name.Reference]v1.Image, error) {
	recipes, err := s.recipes()
	if err != nil {
		return nil, err
	}
	all, used := map[name.Reference]v1.Image{}, map[string]bool{}
	lines := bufio.NewScanner(names)
	for lines.Scan() {
		ref, err := name.NewTag(strings.TrimSpace(lines.Text()))
		if err != nil {
			continue // the list begins with what the test binary logs
		}
		repo := ref.RepositoryStr()
		short := repo[strings.LastIndex(repo, "/")+1:]
		r, ok := recipes[short]
		if !ok {
			continue
		}
		img, err := r.image(s)
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", ref, err)
		}
		all[ref], used[short] = img, true
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the list of images: %w", err)
	}
	var idle []string
	for short := range recipes {
		if !used[short] {
			idle = append(idle, short)
		}
	}
	if len(idle) > 0 {
		slices.Sort(idle)
		return nil, fmt.Errorf("no image on the list is called %s; look at what the tests of this version use", strings.Join(idle, ", "))
	}
	return all, nil
}
