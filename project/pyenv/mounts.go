package pyenv

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlstudio/studio/localcluster/projects"
)

// systemTrees are visible in every pod of the host's image.
var systemTrees = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt"}

// below tells whether path is dir or lies in it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func inSystem(path string) bool {
	return slices.ContainsFunc(systemTrees, func(tree string) bool { return below(path, tree) })
}

// onDefaultPath tells whether a pod's PATH has the folder anyway.
func onDefaultPath(bin string) bool {
	return slices.Contains([]string{"/usr/local/bin", "/usr/bin", "/bin"}, bin)
}

// mounts lists the folders that make up the interpreter and lie outside the
// system's trees, smallest set, each read-only.
func (f *facts) mounts() ([]projects.Mount, error) {
	dirs := []string{f.Prefix, f.BasePrefix, f.ExecPrefix}
	dirs = append(dirs, f.Stdlib...)
	for _, lib := range f.Libraries {
		dirs = append(dirs, filepath.Dir(lib))
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !filepath.IsAbs(dir) })
	// Where the prefixes really lie: uv and pyenv put links beside the real folder.
	for _, dir := range slices.Clone(dirs) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dirs = append(dirs, real)
		}
	}
	for _, hop := range hops(f.Executable) {
		if !slices.ContainsFunc(dirs, func(dir string) bool { return below(hop, dir) }) {
			dirs = append(dirs, filepath.Dir(hop))
		}
	}
	slices.Sort(dirs) // a parent comes before what it holds
	var out []projects.Mount
	for _, dir := range dirs {
		if inSystem(dir) || slices.ContainsFunc(out, func(m projects.Mount) bool { return below(dir, m.Path) }) {
			continue
		}
		if err := refuseWide(dir); err != nil {
			return nil, fmt.Errorf("using the interpreter %s: %w", f.Executable, err)
		}
		out = append(out, projects.Mount{Path: dir, ReadOnly: true})
	}
	return out, nil
}

// hops are the paths that the kernel walks through links to reach a file: the
// file as named, each link's target, and the real file.
func hops(path string) []string {
	var all []string
	for range 40 { // the kernel's own limit
		all = append(all, path)
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = filepath.Clean(target)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		all = append(all, real)
	}
	return all
}

// refuseWide keeps the home, and what holds it, out of pods.
func refuseWide(dir string) error {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	real, err := filepath.EvalSymlinks(home)
	if err != nil {
		real = home
	}
	if dir == "/" || below(home, dir) || below(real, dir) {
		return fmt.Errorf("it would open %s, and with it the home folder, to pods; make an environment in a folder of its own", dir)
	}
	return nil
}

// outside are folders on the interpreter's path that pods will not see.
func (f *facts) outside(mounts []projects.Mount, projectDir string) []string {
	var all []string
	for _, dir := range f.Path {
		seen := inSystem(dir) || below(dir, projectDir) ||
			slices.ContainsFunc(mounts, func(m projects.Mount) bool { return below(dir, m.Path) })
		if !seen {
			all = append(all, dir)
		}
	}
	return all
}
