package holder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/holder/client"
)

// prefixes are the folders of the host that the node sees beside its own.
type prefixes struct {
	dir    datadir.Dir
	home   string
	thread *nodeThread

	mu    sync.Mutex
	known []client.Allow
}

// allow shows a folder to the node at its own path, at once and to all that
// starts later. Asked again it does nothing, or shows the folder that has
// since taken the place of the old one.
func (p *prefixes) allow(a client.Allow) error {
	a.Path = filepath.Clean(a.Path)
	if err := p.check(a.Path); err != nil {
		return err
	}
	if slices.ContainsFunc(systemTrees, func(t string) bool { return within(a.Path, t) }) && !p.hidden(a.Path) {
		return nil // The node sees it already.
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if same, err := p.current(a); same || err != nil {
		return err
	}
	p.known = slices.DeleteFunc(p.known, func(k client.Allow) bool { return k.Path == a.Path })
	if err := p.show(a); err != nil {
		return fmt.Errorf("opening %s to the node: %w", a.Path, err)
	}
	// It now hides what was mounted below it: that is shown again.
	for _, k := range p.known {
		if within(k.Path, a.Path) {
			if err := p.show(k); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("opening %s to the node again: %w", k.Path, err)
			}
		}
	}
	p.known = append(p.known, a)
	return nil
}

// check refuses what would show the home or the engine's own files.
func (p *prefixes) check(path string) error {
	if !filepath.IsAbs(path) || path == "/" {
		return fmt.Errorf("opening %q to the node: it must be an absolute path of a folder below /", path)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("opening %s to the node: %w", path, err)
	}
	for _, candidate := range []string{path, resolved} {
		if within(p.dir.String(), candidate) || within(candidate, p.dir.String()) {
			return fmt.Errorf("opening %s to the node: the engine's data directory %s lies there; move the project, or set %s to another folder", path, p.dir, datadir.Env)
		}
		if p.home != "" && within(p.home, candidate) {
			return fmt.Errorf("opening %s to the node: it holds your whole home folder, which pods never see; move the project to a folder of its own", path)
		}
	}
	return nil
}

// hidden tells whether a system tree was left out because the home lies in it.
func (p *prefixes) hidden(path string) bool {
	return slices.ContainsFunc(systemTrees, func(t string) bool { return within(path, t) && p.home != "" && within(p.home, t) })
}

// current tells whether the node sees at a.Path, in the same mode, what the host has there.
func (p *prefixes) current(a client.Allow) (bool, error) {
	if !slices.Contains(p.known, a) {
		return false, nil
	}
	var host, node unix.Stat_t
	if err := unix.Stat(a.Path, &host); err != nil {
		return false, fmt.Errorf("opening %s to the node: %w", a.Path, err)
	}
	err := p.thread.do(func() error { return unix.Stat(a.Path, &node) })
	if err == nil && host.Dev == node.Dev && host.Ino == node.Ino {
		return true, nil
	}
	// Another folder is there now: the old mount goes once nobody uses it.
	err = p.thread.do(func() error { return unix.Unmount(a.Path, unix.MNT_DETACH) })
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("opening %s to the node: %w", a.Path, err)
	}
	return false, nil
}

// show copies the tree in the host's view and attaches it in the node's.
func (p *prefixes) show(a client.Allow) error {
	t, err := copyTree(a.Path, a.ReadOnly)
	if err != nil {
		return err
	}
	defer t.close()
	st, err := os.Stat(a.Path)
	if err != nil {
		return err
	}
	return p.thread.do(func() error {
		if err := makePoint(a.Path, st.IsDir()); err != nil {
			return err
		}
		return t.attach(a.Path)
	})
}

// makePoint makes a mount point in the calling thread's root.
func makePoint(path string, folder bool) error {
	if folder {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
