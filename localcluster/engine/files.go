package engine

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/projects"
)

// WatchFunc watches a folder until ctx ends. The program that runs the engine
// gives one: what a folder's changes are is not a driver's business.
type WatchFunc func(ctx context.Context, dir string, w Watching) error

// Watching takes what a WatchFunc has to say, one call at a time.
type Watching struct {
	// Ready: from now on changes are told. Files and folders are watched, of the
	// folders polled ones by comparing them at intervals.
	Ready func(files, folders, polled int)
	// Changed passes on one set; Project and Time are filled in.
	Changed func(client.Files)
	// Note is a sentence about what works less well.
	Note func(string)
}

// linger is how long a folder stays watched after the last stream that asked for
// it: a client that connects again misses nothing.
const linger = 10 * time.Second

// watches are the folders that somebody wants to hear of.
type watches struct {
	watch WatchFunc
	hub   *hub

	mu   sync.Mutex
	open map[string]*watching
}

type watching struct {
	wanted int
	end    context.CancelFunc
	late   *time.Timer
}

func newWatches(watch WatchFunc, h *hub) *watches {
	return &watches{watch: watch, hub: h, open: map[string]*watching{}}
}

// hold has a project's folder watched until release is called, and a while longer.
func (ws *watches) hold(p *projects.Project) (release func()) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.open[p.ID]
	if w == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w = &watching{end: cancel}
		ws.open[p.ID] = w
		ws.set(client.Watched{Project: p.ID, Dir: p.Dir})
		go ws.run(ctx, p)
	}
	if w.late != nil {
		w.late.Stop()
	}
	w.wanted++
	return func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		if w.wanted--; w.wanted == 0 {
			w.late = time.AfterFunc(linger, func() { ws.drop(p.ID, w) })
		}
	}
}

func (ws *watches) drop(id string, w *watching) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.wanted > 0 || ws.open[id] != w {
		return
	}
	w.end()
	delete(ws.open, id)
	ws.hub.update(func(s *client.State) {
		s.Watched = slices.DeleteFunc(slices.Clone(s.Watched), func(w client.Watched) bool { return w.Project == id })
	})
}

func (ws *watches) run(ctx context.Context, p *projects.Project) {
	now := client.Watched{Project: p.ID, Dir: p.Dir}
	err := ws.watch(ctx, p.Dir, Watching{
		Ready: func(files, folders, polled int) {
			now.Ready, now.Files, now.Folders, now.Polled = true, files, folders, polled
			ws.set(now)
		},
		Changed: func(f client.Files) {
			f.Project = p.ID
			ws.hub.files(f)
		},
		Note: func(text string) {
			now.Notes = append(slices.Clip(now.Notes), text)
			ws.set(now)
		},
	})
	if err != nil && ctx.Err() == nil {
		now.Ready, now.Error = false, err.Error()
		ws.set(now)
	}
}

// set tells how one folder's watching stands.
func (ws *watches) set(now client.Watched) {
	ws.hub.update(func(s *client.State) {
		all := slices.Clone(s.Watched)
		i := slices.IndexFunc(all, func(w client.Watched) bool { return w.Project == now.Project })
		if i < 0 {
			s.Watched = append(all, now)
			return
		}
		all[i] = now
		s.Watched = all
	})
}

// holdAll holds the projects that a stream names, comma-separated.
func (e *engine) holdAll(w http.ResponseWriter, ids string) (release func(), ok bool) {
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	for _, id := range strings.FieldsFunc(ids, func(r rune) bool { return r == ',' }) {
		p, err := projects.Load(e.dir, id)
		if err != nil {
			release()
			http.Error(w, err.Error(), http.StatusNotFound)
			return nil, false
		}
		releases = append(releases, e.watches.hold(p))
	}
	return release, true
}
