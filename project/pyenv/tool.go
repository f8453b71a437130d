package pyenv

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mlstudio/studio/localcluster/projects"
)

// Tool is a program that Studio brings to an environment without installing it
// there: an environment of its own on top, with the person's below. pip sees
// both, and adds only what is lacking or too old for the tool.
type Tool struct {
	// Name of the tool's folder.
	Name string
	// Modules that are imported; an environment that has them all needs no tool.
	Modules []string
	// Packages that pip installs.
	Packages []string
}

// With returns the environment with a tool on top, which is installed on its
// first use.
func (e *Environment) With(ctx context.Context, t Tool, say Say) (*Environment, error) {
	if has(ctx, e.Python, t.Modules) {
		return e, nil
	}
	dir, err := t.dir(e)
	if err != nil {
		return nil, err
	}
	if err := t.install(ctx, e, dir, say); err != nil {
		return nil, err
	}
	with := *e
	with.Mounts = append(append([]projects.Mount{}, e.Mounts...), projects.Mount{Path: dir, ReadOnly: true})
	with.PathPrepend = append([]string{filepath.Join(dir, "bin")}, e.PathPrepend...)
	return &with, nil
}

// has tells whether an interpreter can import all of the modules.
func has(ctx context.Context, python string, modules []string) bool {
	const look = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in sys.argv[1:]))"
	return exec.CommandContext(ctx, python, append([]string{"-I", "-c", look}, modules...)...).Run() == nil
}

// dir is the tool's folder for this environment.
func (t Tool) dir(e *Environment) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a place for %s: %w", t.Name, err)
	}
	key := sha256.Sum256([]byte(strings.Join(append([]string{e.Prefix, e.Python, e.Version}, t.Packages...), "\n")))
	parent := filepath.Join(cache, "studio", "tools")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", fmt.Errorf("making the folder of tools: %w", err)
	}
	if parent, err = filepath.EvalSymlinks(parent); err != nil {
		return "", fmt.Errorf("finding the folder of tools: %w", err)
	}
	return filepath.Join(parent, fmt.Sprintf("%s-%s-%x", t.Name, e.Version, key[:4])), nil
}

// install makes the tool's environment, unless an earlier call finished it.
func (t Tool) install(ctx context.Context, e *Environment, dir string, say Say) error {
	if madeByStudio(dir) {
		return nil
	}
	unlock, err := lock(ctx, filepath.Dir(dir), say)
	if err != nil {
		return err
	}
	defer unlock()
	if madeByStudio(dir) {
		return nil
	}
	say(fmt.Sprintf("%s lacks %s: installing it on top, once, in %s", e.Python, strings.Join(t.Modules, " and "), dir))
	if err := os.RemoveAll(dir); err != nil { // what an interrupted installation left
		return fmt.Errorf("installing %s: %w", t.Name, err)
	}
	if err := onTop(ctx, e.Python, dir); err != nil {
		return fmt.Errorf("installing %s: %w", t.Name, err)
	}
	if err := pip(ctx, interpreter(dir), t.Packages, say); err != nil {
		var failed *pipError
		if errors.As(err, &failed) {
			return fmt.Errorf("%w\ninstalling %s: pip could not; install %s into the environment yourself, or mend the network and run again", err, t.Name, strings.Join(t.Modules, " and "))
		}
		return err
	}
	// The mark last: what has it is whole.
	if err := os.WriteFile(filepath.Join(dir, marker), []byte("tool "+t.Name+"\n"), 0o644); err != nil {
		return fmt.Errorf("installing %s: %w", t.Name, err)
	}
	return nil
}

// layer makes an environment on top of the interpreter's own: what the base
// installation has is seen as the person's environment sees it, and a virtual
// environment is put between.
const layer = `import os, site, sys, venv
target = sys.argv[1]
virtual = sys.prefix != sys.base_prefix
system = not virtual
if virtual:
    with open(os.path.join(sys.prefix, "pyvenv.cfg")) as f:
        system = any(line.replace(" ", "").strip().lower() == "include-system-site-packages=true" for line in f)
venv.create(target, system_site_packages=system, with_pip=True, symlinks=True)
if virtual:
    own = [p for p in site.getsitepackages() if os.path.isdir(p) and p.startswith(sys.prefix + os.sep)]
    packages = os.path.join(target, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
    with open(os.path.join(packages, "_below.pth"), "w") as f:
        f.write("import site; " + "; ".join("site.addsitedir(%r)" % p for p in own) + "\n")`

func onTop(ctx context.Context, python, dir string) error {
	out, err := exec.CommandContext(ctx, python, "-c", layer, dir).CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s\nmaking an environment with %s: %w; on Debian and Ubuntu: apt-get install python3-venv", strings.TrimSpace(string(out)), python, err)
	}
	return nil
}
