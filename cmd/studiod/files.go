package main

import (
	"context"

	"github.com/mlstudio/studio/localcluster/engine"
	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/sync/watch"
)

// watchFolder joins the engine, which is told, and the watcher, which tells. It
// runs in the supervisor: another process on the way would double the time
// between a save and its event.
func watchFolder(ctx context.Context, dir string, w engine.Watching) error {
	watcher, err := watch.Open(dir, watch.Options{Note: w.Note})
	if err != nil {
		return err
	}
	s := watcher.Status()
	w.Ready(s.Files, s.Dirs, s.Polled)
	return watcher.Run(ctx, func(set watch.Set) { w.Changed(files(set)) })
}

// files names at most client.MaxFiles of a set.
func files(set watch.Set) client.Files {
	f := client.Files{Count: len(set.Changes), Compared: set.Compared}
	for _, c := range set.Changes[:min(len(set.Changes), client.MaxFiles)] {
		switch c.Kind {
		case watch.Added:
			f.Added = append(f.Added, c.Path)
		case watch.Modified:
			f.Modified = append(f.Modified, c.Path)
		case watch.Removed:
			f.Removed = append(f.Removed, c.Path)
		}
	}
	return f
}
