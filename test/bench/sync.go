package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	engineclient "github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/projects"
)

// syncFigures are the trees in which one file is saved.
var syncFigures = []struct {
	name   string
	files  int
	rounds int
	limit  limit
}{
	{"sync.local", 10_000, 100, limit{ratio: 3}},
	{"sync.local_100k", 100_000, 100, limit{ratio: 3}},
}

// apart is the pause between two saves: longer than the watcher's quiet time, as
// between a person's.
const apart = 80 * time.Millisecond

// benchSync: from close(2) of a file to the change event on the engine's state
// stream, beside a bare inotify event of another tree of the same size, by turns.
func benchSync(ctx context.Context, b *bench) error {
	s, end, err := b.fresh(ctx)
	if err != nil {
		return err
	}
	defer end()
	for _, f := range syncFigures {
		ours, peers, err := measureSync(ctx, engineclient.New(s.dir), f.files, f.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		r := row{Bench: f.name, Studio: us(median(ours)), Peer: us(median(peers)), Unit: "us", N: f.rounds}
		if err := b.report(r, f.limit); err != nil {
			return err
		}
	}
	return nil
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func measureSync(ctx context.Context, engine *engineclient.Client, files, rounds int) (ours, peers []time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	top, err := os.MkdirTemp("", "sync-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(top)
	watched, bare := filepath.Join(top, "watched"), filepath.Join(top, "bare")
	var folders []string
	for _, root := range []string{watched, bare} {
		if folders, err = plant(root, files); err != nil {
			return nil, nil, err
		}
	}
	told, err := followFiles(ctx, engine, watched)
	if err != nil {
		return nil, nil, err
	}
	seen, closeInotify, err := bareInotify(folders)
	if err != nil {
		return nil, nil, err
	}
	defer closeInotify()
	editor, err := startSaver(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer editor.cmd.Wait()
	defer cancel()
	for i := range rounds {
		name := filepath.Join(fmt.Sprintf("d%d", i*7%(files/perFolder)), "f3.py")
		took, err := editor.save(ctx, filepath.Join(watched, name), told)
		if err != nil {
			return nil, nil, fmt.Errorf("waiting for Studio's event: %w", err)
		}
		ours = append(ours, took)
		if took, err = editor.save(ctx, filepath.Join(bare, name), seen); err != nil {
			return nil, nil, fmt.Errorf("waiting for the bare event: %w", err)
		}
		peers = append(peers, took)
	}
	return ours, peers, nil
}

const perFolder = 50

// plant makes files in folders of 50 and returns the folders.
func plant(root string, files int) (folders []string, err error) {
	for i := range files {
		if i%perFolder == 0 {
			folders = append(folders, filepath.Join(root, fmt.Sprintf("d%d", i/perFolder)))
			if err := os.MkdirAll(folders[len(folders)-1], 0o755); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(filepath.Join(folders[len(folders)-1], fmt.Sprintf("f%d.py", i%perFolder)), []byte("x = 0000\n"), 0o644); err != nil {
			return nil, err
		}
	}
	return folders, nil
}

// followFiles has a folder watched by the engine; the channel carries the moments
// at which the stream told of one file.
func followFiles(ctx context.Context, engine *engineclient.Client, root string) (<-chan moment, error) {
	p := projects.Project{ID: projects.NewID("bench", root), Name: "bench", Dir: root}
	if err := engine.RegisterProject(ctx, p); err != nil {
		return nil, err
	}
	told, ready := make(chan moment, 1000), make(chan error, 1)
	go func() {
		err := engine.Watch(ctx, 0, func(m engineclient.Message) bool {
			switch {
			case m.Files != nil && m.Files.Project == p.ID:
				told <- moment{at: time.Now()}
			case m.State != nil:
				i := slices.IndexFunc(m.State.Watched, func(w engineclient.Watched) bool { return w.Project == p.ID })
				if i >= 0 && (m.State.Watched[i].Ready || m.State.Watched[i].Error != "") {
					select {
					case ready <- nil:
					default:
					}
				}
			}
			return true
		}, p.ID)
		told <- moment{err: err}
		ready <- err
	}()
	select {
	case err := <-ready:
		return told, err
	case <-time.After(time.Minute):
		return nil, errors.New("the engine did not begin to watch the folder")
	}
}

// bareInotify watches folders for closed files, and nothing else.
func bareInotify(folders []string) (seen <-chan moment, end func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range folders {
		if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CLOSE_WRITE); err != nil {
			return nil, nil, fmt.Errorf("watching %s: %w", dir, err)
		}
	}
	out := make(chan moment, 1000)
	go func() {
		runtime.LockOSThread()
		buf := make([]byte, 65536)
		for {
			n, err := unix.Read(fd, buf)
			out <- moment{at: time.Now(), err: err}
			if n <= 0 {
				return
			}
		}
	}()
	// The thread that reads ends with the folder that it watches.
	return out, func() { os.RemoveAll(filepath.Dir(folders[0])) }, nil
}

// savedMoment is what the saver says of one save: when it closed the file.
type savedMoment struct {
	Nanos int64
	Error string
}

// saver is another process that saves files: whoever saves and whoever is told
// are never the same, and one that has just written would be told on warm caches.
type saver struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
}

// saverArg makes this program the saver.
const saverArg = "save-files"

func startSaver(ctx context.Context) (*saver, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], saverArg)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the process that saves: %w", err)
	}
	return &saver{cmd, json.NewEncoder(in), json.NewDecoder(out)}, nil
}

// serveSaver saves each file that is named, with another content each time.
func serveSaver(in io.Reader, out io.Writer) error {
	names, say := json.NewDecoder(in), json.NewEncoder(out)
	for i := 0; ; i++ {
		var path string
		if err := names.Decode(&path); err != nil {
			return nil // the other side is done
		}
		var m savedMoment
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		if err == nil {
			_, err = fmt.Fprintf(f, "x = %04d\n", i+1)
			m.Nanos = time.Now().UnixNano()
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			m.Error = err.Error()
		}
		if err := say.Encode(m); err != nil {
			return err
		}
	}
}

// save has a file saved and returns the time from its close to the event.
func (s *saver) save(ctx context.Context, path string, seen <-chan moment) (time.Duration, error) {
	time.Sleep(apart) // the tree is quiet, as a person's is
	for len(seen) > 0 {
		<-seen // of the save before: what does not count
	}
	if err := s.in.Encode(path); err != nil {
		return 0, err
	}
	var closed savedMoment
	if err := s.out.Decode(&closed); err != nil {
		return 0, fmt.Errorf("asking the process that saves: %w", err)
	}
	if closed.Error != "" {
		return 0, errors.New(closed.Error)
	}
	select {
	case m := <-seen:
		return time.Duration(m.at.UnixNano() - closed.Nanos), m.err
	case <-time.After(10 * time.Second):
		return 0, errors.New("none came within 10 s")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
