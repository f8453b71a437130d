package watch

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/sync/watch/ignore"
)

// sign is that something happened to a path.
type sign struct {
	first, last time.Time
	// next is when to look whether a file is still being written, pause the time
	// between two looks.
	next  time.Time
	pause time.Duration
}

const (
	// firstPause is the first pause between two looks whether a file is still being
	// written; it doubles.
	firstPause = time.Millisecond
	// contents is up to how many files of one set are read for their hash.
	contents = 64
)

// stir notes that the tree is not quiet.
func (w *Watcher) stir(now time.Time) {
	if w.first.IsZero() {
		w.first = now
	}
	w.last = now
}

// sign puts a path down to be looked at when the tree is quiet.
func (w *Watcher) sign(path string) {
	now := time.Now()
	if s := w.busy[path]; s != nil {
		s.last, s.pause, s.next = now, firstPause, now.Add(firstPause)
		return
	}
	w.stir(now)
	if s := w.pending[path]; s != nil {
		s.last = now
		return
	}
	w.pending[path] = &sign{first: now, last: now}
}

// touched is the sign of an event: a file that was known is told at once when
// nothing else goes on and it is whole.
func (w *Watcher) touched(path string) {
	w.sign(path)
	s := w.pending[path]
	if s == nil || len(w.pending) > 1 || w.lost || s.last.Sub(w.lastSet) < w.opt.Quiet || !w.known(path) {
		return
	}
	switch written, known := beingWritten(w.abs(path), patience); {
	case !known: // the quiet time decides
	case written:
		w.wait(path, s)
	default:
		w.tell([]string{path}, false)
	}
}

func (w *Watcher) known(path string) bool {
	at, name := split(path)
	d := w.find(at)
	if d == nil {
		return false
	}
	_, known := d.files[name]
	return known
}

// wait sets a file that is being written aside until it is whole.
func (w *Watcher) wait(path string, s *sign) {
	delete(w.pending, path)
	if len(w.pending) == 0 && !w.lost {
		w.first = time.Time{}
	}
	s.pause, s.next = firstPause, time.Now().Add(firstPause)
	w.busy[path] = s
}

// nextDue is when due has something to do; zero for never.
func (w *Watcher) nextDue() time.Time {
	at := w.pollDue
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if len(w.pending) > 0 || w.lost {
		sooner(w.last.Add(w.opt.Quiet))
		sooner(w.first.Add(w.opt.MaxWait))
	}
	for _, s := range w.busy {
		sooner(s.next)
	}
	return at
}

// due does what the time has come for.
func (w *Watcher) due(now time.Time) {
	if !w.pollDue.IsZero() && !now.Before(w.pollDue) {
		w.pollNow(now)
	}
	w.dueBusy(now)
	if len(w.pending) == 0 && !w.lost {
		return
	}
	quiet := now.Sub(w.last) >= w.opt.Quiet
	if !quiet && now.Sub(w.first) < w.opt.MaxWait {
		return
	}
	compared := w.lost
	if compared {
		w.reopen("some were lost")
	} else {
		w.checkRoot()
	}
	var paths []string
	for path, s := range w.pending {
		if !quiet && now.Sub(s.last) < w.opt.Quiet {
			if written, _ := beingWritten(w.abs(path), 0); written {
				w.wait(path, s)
				continue
			}
		}
		paths = append(paths, path)
	}
	w.tell(paths, compared)
}

// dueBusy looks after the files that are being written.
func (w *Watcher) dueBusy(now time.Time) {
	for path, s := range w.busy {
		if now.Before(s.next) {
			continue
		}
		written, _ := beingWritten(w.abs(path), 0)
		switch {
		case !written && !w.known(path):
			// A new file may be a temporary one, about to be renamed.
			delete(w.busy, path)
			w.sign(path)
		case !written, now.Sub(s.last) >= w.opt.Quiet, now.Sub(s.first) >= hold*w.opt.MaxWait:
			delete(w.busy, path)
			w.pending[path] = s
			w.tell([]string{path}, false)
		default:
			s.pause = min(2*s.pause, w.opt.Quiet)
			s.next = now.Add(s.pause)
		}
	}
}

// tell compares what was put down with what is there, and passes on what differs.
func (w *Watcher) tell(paths []string, compared bool) {
	slices.Sort(paths)
	set := Set{Compared: compared}
	var rules []string
	listings := map[*dir]map[string]bool{}
	for _, path := range paths {
		if s := w.pending[path]; s != nil && (set.Since.IsZero() || s.first.Before(set.Since)) {
			set.Since = s.first
		}
		delete(w.pending, path)
		kind := w.change(path, len(paths) > contents, listings)
		if kind == "" {
			continue
		}
		set.Changes = append(set.Changes, Change{path, kind})
		if at, name := split(path); ignore.IsRules(name) {
			rules = append(rules, at)
		}
	}
	if len(w.pending) == 0 {
		w.first = time.Time{}
	}
	if len(set.Changes) > 0 {
		w.lastSet = time.Now()
		w.emit(set)
	}
	for _, at := range rules {
		w.newRules(at)
	}
	if len(set.Changes) > 1 || set.Changes != nil && set.Changes[0].Kind != Modified {
		w.count()
	}
}

// newRules judges a folder by the rules that lie in it now.
func (w *Watcher) newRules(at string) {
	d := w.find(at)
	if d == nil {
		return
	}
	if err := w.rules.Enter(at); err != nil {
		w.note(err.Error())
	}
	w.each(d, func(d *dir) {
		for name := range d.files {
			if path := join(d.path, name); w.rules.Ignored(path, false) {
				w.sign(path)
			}
		}
	})
	w.look(d, false, true)
}

// change brings what is known of one path up to date and says how it changed; ""
// for not at all. many: too many files change at once to read each.
func (w *Watcher) change(path string, many bool, listings map[*dir]map[string]bool) Kind {
	at, name := split(path)
	d := w.find(at)
	before, had := w.gone[path]
	delete(w.gone, path)
	if !had && d != nil {
		before, had = d.files[name]
	}
	now, is := entry{}, false
	if d != nil {
		now, is = w.fileAt(d, path, name, listings)
		delete(d.files, name)
	}
	switch {
	case !is && had:
		return Removed
	case !is:
		return ""
	case had && before.looksLike(now) && !before.racy:
		d.files[name] = before
		return ""
	}
	comparable := had && before.hash != 0 && before.size == now.size
	if comparable || !many || now.racy {
		// Read before it is told: who reads it then sees this or something newer.
		now.hash = hash(w.abs(path), now)
	}
	d.files[name] = now
	if comparable && before.hash == now.hash && before.mode == now.mode {
		return ""
	}
	if now.linked && d.inodes {
		w.signLinks(path, now, d)
	}
	if !had {
		return Added
	}
	return Modified
}

// signLinks puts down the other names of a file: the system tells of the one only
// by which it was written. It is rare enough to search all files for.
func (w *Watcher) signLinks(path string, e entry, at *dir) {
	w.each(w.top, func(d *dir) {
		if d.traits != at.traits {
			return
		}
		for name, other := range d.files {
			if other.ino == e.ino && join(d.path, name) != path && (other.racy || !other.looksLike(e)) {
				w.sign(join(d.path, name))
			}
		}
	})
}

// fileAt looks at a path of a watched folder; false where no file is there that
// counts.
func (w *Watcher) fileAt(d *dir, path, name string, listings map[*dir]map[string]bool) (entry, bool) {
	if d.caseless {
		// Any writing of the name would find the file; its own is the listed one.
		if listings[d] == nil {
			listings[d] = listing(w.abs(d.path))
		}
		if !listings[d][name] {
			return entry{}, false
		}
	}
	var st unix.Stat_t
	if unix.Lstat(w.abs(path), &st) != nil {
		return entry{}, false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if d.dirs[name] == nil && !w.rules.Ignored(path, true) {
			w.enter(d, path, &st, false)
		}
		return entry{}, false
	}
	e, ok := entryOf(&st, d.traits, time.Now())
	return e, ok && !w.rules.Ignored(path, false)
}
