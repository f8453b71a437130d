// Command studio-agent is the helper inside pods. It is a static binary without
// dependencies, so that it runs in any image.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mlstudio/studio/version"
)

const usage = `usage:
  studio-agent version       print the version
  studio-agent install DIR   copy this program into DIR, for the other containers of the pod`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "studio-agent:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "version":
		fmt.Fprintln(out, version.Version)
		return nil
	case len(args) == 2 && args[0] == "install":
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
		return install(self, args[1])
	}
	return errors.New("unknown command; " + usage)
}
