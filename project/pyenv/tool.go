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
// there: its packages come last on the interpreter's path, so that the
// environment's own always win.
type Tool struct {
	// Name of the tool's folder.
	Name string
	// Modules that are imported; an environment that has them all needs no tool.
	Modules []string
	// Packages that pip installs.
	Packages []string
}

// pathFolder of a tool holds sitecustomize.py, and nothing else that could be imported.
const pathFolder = "path"

// appendSite is run by every interpreter that has its folder on PYTHONPATH.
const appendSite = `import glob, os, site
for packages in glob.glob(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib*", "python*", "site-packages")):
    site.addsitedir(packages)
`

// With gives the environment a tool, which is installed on its first use.
func (e *Environment) With(ctx context.Context, t Tool, say Say) error {
	if has(ctx, e.Python, t.Modules) {
		return nil
	}
	dir, err := t.dir(e)
	if err != nil {
		return err
	}
	if err := t.install(ctx, e, dir, say); err != nil {
		return err
	}
	e.Mounts = append(e.Mounts, projects.Mount{Path: dir, ReadOnly: true})
	e.Env["PYTHONPATH"] = filepath.Join(dir, pathFolder)
	e.Env["JUPYTER_PATH"] = filepath.Join(dir, "share", "jupyter")
	return nil
}

// has tells whether an interpreter can import all of the modules.
func has(ctx context.Context, python string, modules []string) bool {
	const look = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in sys.argv[1:]))"
	return exec.CommandContext(ctx, python, append([]string{"-I", "-c", look}, modules...)...).Run() == nil
}

// dir is the tool's folder for this interpreter: compiled packages fit one version of one Python only.
func (t Tool) dir(e *Environment) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a place for %s: %w", t.Name, err)
	}
	real, err := filepath.EvalSymlinks(e.Python)
	if err != nil {
		return "", fmt.Errorf("finding a place for %s: %w", t.Name, err)
	}
	key := sha256.Sum256([]byte(strings.Join(append([]string{real, e.Version}, t.Packages...), "\n")))
	dir := filepath.Join(cache, "studio", "tools", fmt.Sprintf("%s-%s-%x", t.Name, e.Version, key[:4]))
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", fmt.Errorf("making the folder of tools: %w", err)
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	return dir, nil
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
	say(fmt.Sprintf("%s lacks %s: installing it beside the environment, once", e.Python, strings.Join(t.Modules, " and ")))
	if err := os.RemoveAll(dir); err != nil { // what an interrupted installation left
		return fmt.Errorf("installing %s: %w", t.Name, err)
	}
	out, err := exec.CommandContext(ctx, e.Python, "-m", "venv", dir).CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s\ninstalling %s: %w; on Debian and Ubuntu: apt-get install python3-venv", strings.TrimSpace(string(out)), t.Name, err)
	}
	if err := pip(ctx, interpreter(dir), t.Packages, say); err != nil {
		var failed *pipError
		if errors.As(err, &failed) {
			return fmt.Errorf("%w\ninstalling %s: pip could not; install %s into the environment yourself, or mend the network and run again", err, t.Name, strings.Join(t.Modules, " and "))
		}
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, pathFolder), 0o755); err != nil {
		return fmt.Errorf("installing %s: %w", t.Name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, pathFolder, "sitecustomize.py"), []byte(appendSite), 0o644); err != nil {
		return fmt.Errorf("installing %s: %w", t.Name, err)
	}
	// The mark last: what has it is whole.
	if err := os.WriteFile(filepath.Join(dir, marker), []byte("tool "+t.Name+"\n"), 0o644); err != nil {
		return fmt.Errorf("installing %s: %w", t.Name, err)
	}
	return nil
}
