package watch

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// buffered is how many events wait here, besides those that the kernel keeps,
// while a folder is read.
const buffered = 4096

// raise is how to lift a limit of the system.
func raise(sysctl string, to int) string {
	return fmt.Sprintf("raise it: `sudo sysctl %s=%d`, and for good a line `%[1]s=%[2]d` in /etc/sysctl.d/90-inotify.conf", sysctl, to)
}

// openEvents asks the system for events; without them all is compared.
func (w *Watcher) openEvents() {
	events, err := fsnotify.NewBufferedWatcher(buffered)
	switch {
	case err == nil:
		w.events = events
		w.errs = drain(events.Errors)
		return
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		w.note(fmt.Sprintf("no inotify instance is free (fs.inotify.max_user_instances), so %s is compared every %v instead; %s", w.root, w.opt.Poll, raise("fs.inotify.max_user_instances", 1024)))
	default:
		w.note(fmt.Sprintf("the system gives no file events (%v), so %s is compared every %v instead", err, w.root, w.opt.Poll))
	}
}

// drain takes errors as they come: the library holds, while it hands one over, the
// lock that adding and removing a watch needs. One is as good as many.
func drain(errs <-chan error) <-chan error {
	last := make(chan error, 1)
	go func() {
		for err := range errs {
			// A watch that was to be removed was gone already.
			if errors.Is(err, unix.EINVAL) {
				continue
			}
			select {
			case last <- err:
			default:
			}
		}
	}()
	return last
}

func (w *Watcher) closeEvents() {
	if w.events != nil {
		w.events.Close()
		w.events = nil
	}
}

func (w *Watcher) channels() (<-chan fsnotify.Event, <-chan error) {
	if w.events == nil {
		return nil, nil
	}
	return w.events.Events, w.errs
}

// watch has the events of a folder sent; false where that can not be.
func (w *Watcher) watch(d *dir) bool {
	if w.events == nil {
		return false
	}
	err := w.events.Add(w.abs(d.path))
	switch {
	case err == nil:
		return true
	case errors.Is(err, unix.ENOSPC):
		w.note(fmt.Sprintf("the inotify watches of this user are used up (fs.inotify.max_user_watches), so some folders of %s are compared every %v instead; %s",
			w.root, w.opt.Poll, raise("fs.inotify.max_user_watches", 1048576)))
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES):
		// Gone since, or told by look.
	default:
		w.note(fmt.Sprintf("watching %s: %v; it is compared every %v instead", w.abs(d.path), err, w.opt.Poll))
	}
	return false
}

func (w *Watcher) unwatch(d *dir) {
	if _, polled := w.polled[d]; w.events != nil && !polled {
		_ = w.events.Remove(w.abs(d.path)) // the kernel may have done so already
	}
}

// poll compares a folder at intervals.
func (w *Watcher) poll(d *dir) {
	w.polled[d] = struct{}{}
	if w.pollDue.IsZero() {
		w.pollDue = time.Now().Add(w.opt.Poll)
	}
}

// pollNow compares all folders without events. What takes long is done less often.
func (w *Watcher) pollNow(now time.Time) {
	if _, polled := w.polled[w.top]; polled || w.top == nil {
		w.checkRoot()
	}
	for d := range w.polled {
		w.look(d, false, false)
	}
	w.pollDue = time.Time{}
	if len(w.polled) > 0 || w.events == nil {
		w.pollDue = time.Now().Add(max(w.opt.Poll, 10*time.Since(now)))
	}
}

// setAnchor watches a folder above the root for the root to come.
func (w *Watcher) setAnchor(at string) bool {
	w.leaveAnchor()
	w.anchor = at
	if w.events != nil && w.events.Add(at) == nil {
		return true
	}
	w.pollDue = time.Now().Add(w.opt.Poll)
	return false
}

func (w *Watcher) leaveAnchor() {
	if w.anchor != "" && w.events != nil {
		_ = w.events.Remove(w.anchor)
	}
	w.anchor = ""
}

// take is what one event means: a look, never more. Folders are looked at when
// the event comes, so that their watches keep up; files when they have settled.
func (w *Watcher) take(ev fsnotify.Event) {
	if w.top == nil || ev.Name == w.root {
		w.checkRoot()
		return
	}
	path, inside := strings.CutPrefix(ev.Name, w.root+"/")
	if !inside {
		return
	}
	at, name := split(path)
	d := w.find(at)
	if d == nil {
		return // of a folder that is gone since
	}
	_, isFile := d.files[name]
	child := d.dirs[name]
	if d.caseless && (!isFile || !ev.Has(fsnotify.Write)) {
		// Only a listing tells how the name is written.
		for other, child := range d.dirs {
			if !ev.Has(fsnotify.Write) && strings.EqualFold(other, name) {
				w.drop(child)
			}
		}
		w.look(d, false, false)
		return
	}
	if isFile && !ev.Has(fsnotify.Create) {
		w.touched(path)
		return
	}
	var st unix.Stat_t
	err := unix.Lstat(w.abs(path), &st)
	isDir := err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
	// A folder that comes to a place where one was is entered anew although it seems
	// to be the same: it may have been away when its watch was set, and another here.
	if child != nil && (!isDir || ev.Has(fsnotify.Create) || w.replaced(child, &st)) {
		w.drop(child)
		child = nil
	}
	_, wasFile := w.gone[path]
	switch {
	case isDir:
		if isFile {
			w.touched(path)
		}
		if child == nil && !w.rules.Ignored(path, true) {
			w.enter(d, path, &st, false)
		} else if child != nil && ev.Has(fsnotify.Chmod) {
			w.look(child, false, false) // it may have become readable
		}
	case isFile, wasFile, err == nil && !w.rules.Ignored(path, false):
		w.touched(path)
	}
}

// trouble: events were lost, or can no longer be had.
func (w *Watcher) trouble(err error) {
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		w.note(fmt.Sprintf("reading the events of %s: %v; it is compared instead", w.root, err))
	}
	w.lost = true
	w.stir(time.Now())
}

// reopen begins anew with events, and compares everything.
func (w *Watcher) reopen(why string) {
	w.closeEvents()
	w.openEvents()
	clear(w.polled)
	w.anchor, w.lost = "", false
	if w.top == nil {
		w.arrive(false)
		return
	}
	w.each(w.top, func(d *dir) {
		if w.byID[d.id] != d || !d.events || !w.watch(d) {
			w.poll(d)
		}
	})
	w.checkRoot()
	if w.top != nil {
		w.look(w.top, false, true)
	}
}
