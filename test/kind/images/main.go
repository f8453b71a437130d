// Command images builds the images of a kind node's own pods, from the programs
// that hack/kind-programs builds: images -base TAR -programs FOLDER -o ARCHIVE < NAMES
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/mlstudio/studio/test/ociimage"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	base := flags.String("base", "", "tar of the node's Debian tree, which holds the C library and nft")
	programs := flags.String("programs", "", "folder of the programs")
	out := flags.String("o", "", "archive to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *base == "" || *programs == "" || *out == "" {
		return errors.New("-base, -programs and -o are all needed")
	}
	tree := &ociimage.Base{Tar: *base}
	recipes := map[string]ociimage.Recipe{}
	for _, name := range []string{"coredns", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"} {
		to := "usr/local/bin/" + name
		recipes[name] = ociimage.Recipe{
			Base:   tree,
			Files:  []ociimage.File{{Path: to, Mode: 0o755, From: filepath.Join(*programs, name)}},
			Config: v1.Config{Entrypoint: []string{"/" + to}},
		}
	}
	recipes["pause"] = ociimage.Recipe{
		Files:  []ociimage.File{{Path: "pause", Mode: 0o755, From: filepath.Join(*programs, "pause")}},
		Config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
	}
	return ociimage.Save(*out, os.Stdin, recipes)
}
