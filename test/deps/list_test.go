// Package deps keeps the module's shape: who may import whom, and what each
// program may link. It asks `go list` and compiles nothing.
package deps

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/mlstudio/studio"

// pkg is the part of `go list -json` that the rules look at.
type pkg struct {
	ImportPath   string
	Name         string
	Doc          string
	Standard     bool
	GoFiles      []string
	Deps         []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct{ Path string }
}

// folder is the path below the module's root: "cmd/studiod", "." for the root.
func (p pkg) folder() string { return below(p.ImportPath) }

func below(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// inside says whether a folder is root or lies under it.
func inside(folder, root string) bool {
	return folder == root || strings.HasPrefix(folder, root+"/")
}

// own are the packages of this module, with their tests' imports.
var own = sync.OnceValues(func() ([]pkg, error) { return list("-tags=e2e", "./...") })

// list runs `go list -json` in the module's root.
func list(args ...string) ([]pkg, error) {
	fields := "-json=ImportPath,Name,Doc,Standard,GoFiles,Deps,Imports,TestImports,XTestImports,Module"
	cmd := exec.Command("go", append([]string{"list", fields}, args...)...)
	cmd.Dir = root()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(stderr.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

// root is the module's folder: two above this package's.
func root() string { return filepath.Join("..", "..") }

func mustOwn(t *testing.T) []pkg {
	t.Helper()
	all, err := own()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("go list names %d packages of this module; the rules below would hold of nothing", len(all))
	}
	return all
}

// program returns one main package with all that it links.
func program(t *testing.T, folder string) pkg {
	t.Helper()
	all, err := list("./" + folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Name != "main" {
		t.Fatalf("%s is not one program", folder)
	}
	return all[0]
}

// imports are all of a package's, its tests' included, within this module.
func (p pkg) imports() []string {
	var in []string
	for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
		if path == module || strings.HasPrefix(path, module+"/") {
			in = append(in, below(path))
		}
	}
	slices.Sort(in)
	return slices.Compact(in)
}

// goFiles walks the tracked shape of the tree. Opening each file also tells
// `go test` what a cached result depends on.
func goFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(root(), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root() || path == filepath.Join(root(), "bin")) {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() && strings.HasSuffix(path, ".go") {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root(), path)
			if err != nil {
				return err
			}
			files[rel] = raw
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
