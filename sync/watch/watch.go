// Package watch tells what changes in a project's folder: not what system calls
// were made, but which files are other than they were, once they are whole.
//
// The watcher keeps a list of all files (kind, size, time, inode; a hash of those
// that changed lately) and takes events only as a hint where to look again. So
// an editor's dance of temporary files, renames and truncations comes out as one
// modified file, a file written twice with the same content as nothing, and events
// that were lost cost a comparison of the whole tree and no correctness.
//
// A file that was known and has changed is told at once when the tree was quiet
// and nobody has it open for writing any more, which the kernel knows. All else,
// and what follows within Options.Quiet, is gathered until the tree has been quiet
// for that long, at most Options.MaxWait. A file that is still being written does
// not hold up the others and is told when its writer closes it or pauses.
//
// Symbolic links are files whose content is their target; they are not followed.
// Where events can not be had (network file systems, exhausted inotify limits)
// folders are compared at intervals, and Options.Note says so.
package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/mlstudio/studio/sync/watch/ignore"
)

// Kind says how a file is other than it was.
type Kind string

// The kinds of change.
const (
	Added    Kind = "added"
	Modified Kind = "modified"
	Removed  Kind = "removed"
)

// Change is one file's. Path is relative to the root, with slashes.
type Change struct {
	Path string
	Kind Kind
}

// Set is what changed together, in the order of the paths. Each file is in it once.
type Set struct {
	Changes []Change
	// Since is when the first sign of it was seen.
	Since time.Time
	// Compared: events were lost, and the whole tree was compared instead.
	Compared bool
}

// Options change how changes are gathered; the zero value is for people's projects.
type Options struct {
	// Quiet is how long nothing must happen until changes are told (default 50 ms).
	Quiet time.Duration
	// MaxWait is how long changes may be gathered while more come (default 1 s).
	MaxWait time.Duration
	// Poll is how often folders without events are compared (default 2 s); it grows
	// where a comparison takes long.
	Poll time.Duration
	// Note receives sentences about what works less well and what mends it.
	Note func(text string)
}

// hold is how many times MaxWait a file may be in writing without a pause until
// it is told anyway.
const hold = 10

func (o Options) defaults() Options {
	if o.Quiet == 0 {
		o.Quiet = 50 * time.Millisecond
	}
	if o.MaxWait == 0 {
		o.MaxWait = time.Second
	}
	if o.Poll == 0 {
		o.Poll = 2 * time.Second
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	return o
}

// Watcher watches one folder.
type Watcher struct {
	root  string
	opt   Options
	rules *ignore.Rules

	// events is nil where the system gives none.
	events  *fsnotify.Watcher
	errs    <-chan error
	top     *dir // nil while the root is not there
	rootID  identity
	byID    map[identity]*dir
	traits  map[uint64]*traits
	polled  map[*dir]struct{}
	noted   map[string]bool
	pollDue time.Time
	// anchor is the folder that is watched for the root to come back.
	anchor string

	// pending are paths to look at when the tree is quiet, busy those that somebody
	// writes, gone the files of folders that are no more.
	pending map[string]*sign
	busy    map[string]*sign
	gone    map[string]entry
	// first and last are when signs came since the last set; lost: some did not.
	first, last time.Time
	lost        bool
	lastSet     time.Time
	emit        func(Set)

	mu     sync.Mutex
	status Status
}

// Status is what is watched.
type Status struct {
	Files, Dirs int
	// Polled is how many of the folders have no events.
	Polled int
}

// Open reads the folder and begins to watch it: what changes from then on is told
// by Run. The folder must be there.
func Open(root string, opt Options) (*Watcher, error) {
	real, err := filepath.EvalSymlinks(root)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return nil, fmt.Errorf("watching a folder: %w", err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, fmt.Errorf("watching a folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("watching %s: it is a file; name its folder", root)
	}
	w := &Watcher{
		root: real, opt: opt.defaults(), byID: map[identity]*dir{}, traits: map[uint64]*traits{}, polled: map[*dir]struct{}{},
		noted: map[string]bool{}, pending: map[string]*sign{}, busy: map[string]*sign{}, gone: map[string]entry{},
	}
	if w.rules, err = ignore.New(real); err != nil {
		w.note(err.Error())
	}
	w.openEvents()
	w.arrive(true)
	w.count()
	return w, nil
}

// Status counts what is watched now.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Run tells changes until ctx ends, and closes the watcher. The watcher waits
// while emit runs; the system keeps events meanwhile, up to a limit beyond which
// the tree is compared.
func (w *Watcher) Run(ctx context.Context, emit func(Set)) error {
	defer w.closeEvents()
	w.emit = emit
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if due := w.nextDue(); due.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(due))
		}
		events, errs := w.channels()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev, ok := <-events:
			if !ok {
				w.reopen("the system ended them")
				continue
			}
			w.take(ev)
		case err := <-errs:
			w.trouble(err)
		case <-timer.C:
			w.due(time.Now())
		}
	}
}

// note says a sentence once.
func (w *Watcher) note(text string) {
	if !w.noted[text] {
		w.noted[text] = true
		w.opt.Note(text)
	}
}

// count brings the status up to date.
func (w *Watcher) count() {
	var s Status
	w.each(w.top, func(d *dir) {
		s.Dirs++
		s.Files += len(d.files)
	})
	s.Polled = len(w.polled)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = s
}
