package shim

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/crilog"
	"github.com/mlstudio/studio/localcluster/hostrt/sandbox"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// streams are the two ends of a new container's standard streams.
type streams struct {
	child                 sandbox.IO
	stdin, stdout, stderr *os.File
	console               *os.File
}

func (c *container) openStreams() (*streams, error) {
	st := &streams{}
	if c.spec.TTY {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		st.console, st.child.Console = os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console")
		return st, nil
	}
	var err error
	if c.spec.Stdin {
		if st.child.Stdin, st.stdin, err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	if st.stdout, st.child.Stdout, err = os.Pipe(); err == nil {
		st.stderr, st.child.Stderr, err = os.Pipe()
	}
	if err != nil {
		st.closeChild()
		st.closeParent()
		return nil, err
	}
	return st, nil
}

func closeFiles(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

func (st *streams) closeChild() {
	closeFiles(st.child.Stdin, st.child.Stdout, st.child.Stderr, st.child.Console)
}

func (st *streams) closeParent() { closeFiles(st.stdin, st.stdout, st.stderr, st.console) }

// terminal takes the terminal that the container's process has made.
func (st *streams) terminal() (*os.File, error) {
	defer st.console.Close()
	return shimapi.ReceiveTerminal(st.console)
}

// fanout copies a container's output to its log and to who is attached.
type fanout struct {
	log *crilog.Log
	mu  sync.Mutex
	// attached maps each attached client to its two outputs, either of them nil.
	attached map[*attachment]bool
}

type attachment struct {
	stdout, stderr *os.File
	// end is closed when the container's output has ended.
	end chan struct{}
}

func (f *fanout) copy(stream string, r *os.File) {
	defer r.Close()
	// A log that cannot be written (a full disk) must not stop the container;
	// what follows is read and dropped.
	_ = f.log.Copy(stream, io.TeeReader(r, &tee{f, stream}))
}

// tee never fails: a client that is gone is let go.
type tee struct {
	f      *fanout
	stream string
}

func (t *tee) Write(p []byte) (int, error) {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	for a := range t.f.attached {
		w := a.stdout
		if t.stream == "stderr" {
			w = a.stderr
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(p); err != nil {
			delete(t.f.attached, a)
			close(a.end)
		}
	}
	return len(p), nil
}

func (f *fanout) add(a *attachment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.attached == nil {
		f.attached = map[*attachment]bool{}
	}
	f.attached[a] = true
}

func (f *fanout) remove(a *attachment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attached, a)
}

func (f *fanout) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for a := range f.attached {
		close(a.end)
	}
	f.attached = nil
}

// input is a container's standard input, fed by who attaches.
type input struct {
	mu sync.Mutex
	w  *os.File
	// once closes it after the first client; keep leaves closing to others.
	once, keep bool
}

func (in *input) feed(r io.Reader) {
	in.mu.Lock()
	w := in.w
	in.mu.Unlock()
	if w == nil {
		return
	}
	_, err := io.Copy(w, r)
	if in.once || err != nil {
		in.close()
	}
}

func (in *input) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.w != nil && !in.keep {
		in.w.Close()
	}
	in.w = nil
}
