package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// name of the installed program.
const name = "studio-agent"

// install copies the program at self into dir. A reader of the old copy never
// sees half of the new one.
func install(self, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("installing into %s: %w", dir, err)
	}
	from, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("installing into %s: %w", dir, err)
	}
	defer from.Close()
	to, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("installing into %s: %w", dir, err)
	}
	defer os.Remove(to.Name())
	_, err = io.Copy(to, from)
	if err == nil {
		err = to.Chmod(0o755)
	}
	if e := to.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(to.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("installing into %s: %w", dir, err)
	}
	return nil
}
