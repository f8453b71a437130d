package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/projects"
)

// serveFiles is an engine's API with a watch function that a test gives.
func serveFiles(t *testing.T, watch WatchFunc) (*client.Client, projects.Project) {
	t.Helper()
	dir := datadir.Dir(t.TempDir())
	if err := dir.Init(); err != nil {
		t.Fatal(err)
	}
	p := projects.Project{ID: "p-1", Name: "p", Dir: t.TempDir()}
	if err := projects.Save(dir, p); err != nil {
		t.Fatal(err)
	}
	h := newHub(client.State{Version: "1"})
	e := &engine{dir: dir, hub: h, watches: newWatches(watch, h)}
	stop, err := e.listen(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return client.New(dir), p
}

func TestFilesOnTheStream(t *testing.T) {
	save, watching := make(chan string), make(chan string, 10)
	c, p := serveFiles(t, func(ctx context.Context, dir string, w Watching) error {
		watching <- dir
		w.Note("a limit")
		w.Ready(3, 2, 1)
		for {
			select {
			case path := <-save:
				w.Changed(client.Files{Modified: []string{path}, Count: 1})
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	var got client.Files
	seen := uint64(0)
	err := c.Watch(t.Context(), 0, func(m client.Message) bool {
		seen = m.Seq
		if m.State != nil && len(m.State.Watched) == 1 && m.State.Watched[0].Ready {
			w := m.State.Watched[0]
			if w.Dir != p.Dir || w.Files != 3 || w.Folders != 2 || w.Polled != 1 || !slices.Equal(w.Notes, []string{"a limit"}) {
				t.Errorf("watched: %+v", w)
			}
			go func() { save <- "train.py" }()
		}
		if m.Files != nil {
			got = *m.Files
		}
		return m.Files == nil
	}, p.ID)
	if err != nil || got.Project != p.ID || !slices.Equal(got.Modified, []string{"train.py"}) || got.Time.IsZero() {
		t.Fatalf("told %+v, %v", got, err)
	}
	// A client that comes back goes on where it was: the folder is still watched.
	save <- "while.py"
	err = c.Watch(t.Context(), seen, func(m client.Message) bool {
		if m.Files != nil {
			got = *m.Files
		}
		return m.Files == nil
	}, p.ID)
	if err != nil || !slices.Equal(got.Modified, []string{"while.py"}) {
		t.Errorf("after coming back: %+v, %v", got, err)
	}
	if len(watching) != 1 {
		t.Errorf("the folder was watched %d times", len(watching))
	}
}

func TestWhatCanNotBeWatched(t *testing.T) {
	c, p := serveFiles(t, func(context.Context, string, Watching) error { return errors.New("the folder is gone") })
	err := c.Watch(t.Context(), 0, func(client.Message) bool { return true }, "nobody-1")
	if err == nil || !strings.Contains(err.Error(), "no such project is registered") {
		t.Errorf("an unknown project: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = c.Watch(ctx, 0, func(m client.Message) bool {
		return m.State == nil || len(m.State.Watched) == 0 || m.State.Watched[0].Error != "the folder is gone"
	}, p.ID)
	if err != nil {
		t.Errorf("the failure was not told: %v", err)
	}
}
