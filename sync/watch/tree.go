package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dir is a folder that is watched; its files as they were told last.
type dir struct {
	path   string // relative to the root; "" for the root
	parent *dir
	id     identity
	*traits
	files map[string]entry
	dirs  map[string]*dir
}

func (w *Watcher) abs(path string) string {
	if path == "" {
		return w.root
	}
	return w.root + "/" + path
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func split(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// find returns a watched folder by its path.
func (w *Watcher) find(path string) *dir {
	d := w.top
	for path != "" && d != nil {
		var name string
		name, path, _ = strings.Cut(path, "/")
		d = d.dirs[name]
	}
	return d
}

func (w *Watcher) each(d *dir, f func(*dir)) {
	if d == nil {
		return
	}
	f(d)
	for _, child := range d.dirs {
		w.each(child, f)
	}
}

// enter begins to watch a folder that is new here. The watch is set before the
// folder is read, so that nothing falls between. fresh: what is in it is not news.
func (w *Watcher) enter(parent *dir, path string, st *unix.Stat_t, fresh bool) *dir {
	id := identity{st.Dev, st.Ino}
	d := &dir{path: path, parent: parent, id: id, files: map[string]entry{}, dirs: map[string]*dir{}}
	if d.traits = w.traits[st.Dev]; d.traits == nil {
		d.traits = traitsOf(w.abs(path))
		w.traits[st.Dev] = d.traits
		if !d.events {
			w.note(fmt.Sprintf("%s lies on %s, which tells no changes; it is compared every %v instead", w.abs(path), d.name, w.opt.Poll))
		}
	}
	// One folder has one watch. If it was known by another path, that was its name
	// before; if it still has it, it is mounted twice.
	twice := false
	if other := w.byID[id]; other != nil && (d.inodes || d.events) {
		if twice = w.stillThere(other); !twice {
			w.drop(other)
		}
	}
	if parent == nil {
		w.top, w.rootID = d, id
	} else {
		_, name := split(path)
		parent.dirs[name] = d
	}
	if err := w.rules.Enter(path); err != nil {
		w.note(err.Error())
	}
	if !twice {
		w.byID[id] = d
	}
	if twice || !d.events || !w.watch(d) {
		w.poll(d)
	}
	w.look(d, fresh, false)
	return d
}

func (w *Watcher) stillThere(d *dir) bool {
	var st unix.Stat_t
	return unix.Lstat(w.abs(d.path), &st) == nil && identity{st.Dev, st.Ino} == d.id
}

// replaced tells whether another folder has a watched one's place. A watch keeps
// the number even where the file system does not.
func (w *Watcher) replaced(d *dir, st *unix.Stat_t) bool {
	_, polled := w.polled[d]
	return (d.inodes || !polled) && d.id != identity{st.Dev, st.Ino}
}

// drop forgets a folder that is gone, and puts its files down to be told.
func (w *Watcher) drop(d *dir) {
	w.each(d, func(d *dir) {
		w.unwatch(d)
		delete(w.polled, d)
		if w.byID[d.id] == d {
			delete(w.byID, d.id)
		}
		w.rules.Leave(d.path)
		for name, e := range d.files {
			path := join(d.path, name)
			w.gone[path] = e
			w.sign(path)
		}
	})
	switch {
	case d.parent != nil:
		_, name := split(d.path)
		delete(d.parent.dirs, name)
	case w.top == d:
		w.top = nil
	}
}

// look compares a folder with what is known of it: files that differ are put down
// to be told, new folders entered, gone ones dropped. fresh: it is read for the
// first time, and what is there is simply known. deep: folders in it too.
func (w *Watcher) look(d *dir, fresh, deep bool) {
	f, err := os.OpenFile(w.abs(d.path), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			w.note(fmt.Sprintf("%s can not be read, so its changes are not seen; `chmod u+rx` opens it", w.abs(d.path)))
		}
		return // else it is gone, and the folder above tells
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		w.note(fmt.Sprintf("reading %s: %v", w.abs(d.path), err))
		return
	}
	fd, now := int(f.Fd()), time.Now()
	present := make(map[string]bool, len(names))
	for _, name := range names {
		present[name] = true
	}
	d.probe(fd, present)
	for _, name := range names {
		path := join(d.path, name)
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue // gone since; an event follows
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			w.lookAtDir(d, path, name, &st, fresh, deep)
			continue
		}
		e, isFile := entryOf(&st, d.traits, now)
		before, known := d.files[name]
		switch {
		case known && isFile && before.looksLike(e) && !before.racy:
		case !known && (!isFile || w.rules.Ignored(path, false)):
		case fresh:
			if e.racy {
				e.hash = hash(w.abs(path), e)
			}
			d.files[name] = e
		default:
			w.sign(path)
		}
	}
	for name := range d.files {
		if !present[name] {
			w.sign(join(d.path, name))
		}
	}
	for name, child := range d.dirs {
		if !present[name] {
			w.drop(child)
		}
	}
}

func (w *Watcher) lookAtDir(d *dir, path, name string, st *unix.Stat_t, fresh, deep bool) {
	if _, known := d.files[name]; known {
		w.sign(path) // the file is gone
	}
	ignored := w.rules.Ignored(path, true)
	child := d.dirs[name]
	if child != nil && (ignored || w.replaced(child, st)) {
		w.drop(child)
		child = nil
	}
	switch {
	case ignored:
	case child == nil:
		w.enter(d, path, st, fresh)
	case deep:
		w.look(child, false, true)
	}
}

// arrive enters the root; where it is not there, the nearest folder above it is
// watched until it is. fresh: what is in it is not news.
func (w *Watcher) arrive(fresh bool) {
	for {
		var st unix.Stat_t
		if unix.Lstat(w.root, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			w.leaveAnchor()
			w.enter(nil, "", &st, fresh)
			return
		}
		at := filepath.Dir(w.root)
		for unix.Lstat(at, &st) != nil && at != "/" {
			at = filepath.Dir(at)
		}
		// Once the watch is set, whether it came meanwhile is looked at again.
		if at == w.anchor || !w.setAnchor(at) {
			return
		}
	}
}

// checkRoot notices that the root is gone, or another folder has its name.
func (w *Watcher) checkRoot() {
	var st unix.Stat_t
	err := unix.Lstat(w.root, &st)
	there := err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case w.top != nil && there && identity{st.Dev, st.Ino} == w.top.id:
		return
	case w.top != nil:
		w.drop(w.top)
	}
	w.arrive(false)
}
