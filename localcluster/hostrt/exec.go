package hostrt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// maxSyncOutput is how much of a probe's output is kept, each stream.
const maxSyncOutput = 16 << 20

// command is a further process in a running container.
type command struct {
	stream *shimapi.Stream
}

// runningContainer finds a container that a command can run in.
func (s *Server) runningContainer(id string) (*container, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state.Phase != shimapi.Running {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s is not running", id)
	}
	return c, nil
}

// startCommand starts a command on files, which stay the caller's.
func (s *Server) startCommand(ctx context.Context, c *container, args []string, tty bool, streams [3]bool, files ...*os.File) (*command, error) {
	project, err := s.projectOf(c.pod)
	if err != nil {
		return nil, err
	}
	p, err := s.newProcess(c, project)
	if err != nil {
		return nil, err
	}
	p.Args = args
	if tty {
		p.Env = append(p.Env, "TERM=xterm")
	}
	stream, err := c.client().Open(ctx, shimapi.Request{Op: shimapi.OpExec, ID: c.id, Exec: p, TTY: tty, Streams: streams}, files...)
	if err != nil {
		return nil, err
	}
	if _, err := stream.Next(); err != nil {
		stream.Close()
		return nil, err
	}
	return &command{stream}, nil
}

// wait waits for the command's exit code.
func (c *command) wait() (int, error) {
	defer c.stream.Close()
	res, err := c.stream.Next()
	return res.Code, err
}

// ExecSync implements the CRI. A command that cannot be run has an exit code
// as a shell would give it, so that a probe fails with the reason.
func (s *Server) ExecSync(ctx context.Context, r *rt.ExecSyncRequest) (*rt.ExecSyncResponse, error) {
	c, err := s.runningContainer(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	if t := r.GetTimeout(); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(t)*time.Second)
		defer cancel()
	}
	var out, errOut bytes.Buffer
	code, err := s.runCommand(ctx, c, r.GetCmd(), nil, limited(&out), limited(&errOut))
	var own *shimapi.Error
	if errors.As(err, &own) && own.Code != 0 {
		return &rt.ExecSyncResponse{Stderr: []byte(own.Message), ExitCode: int32(own.Code)}, nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, status.Errorf(codes.DeadlineExceeded, "command %q timed out after %d s", r.GetCmd(), r.GetTimeout())
	}
	if err != nil {
		return nil, err
	}
	return &rt.ExecSyncResponse{Stdout: out.Bytes(), Stderr: errOut.Bytes(), ExitCode: int32(code)}, nil
}

// runCommand runs a command on pipes to its end. Output goes on until every
// process that holds it has closed it or the context ends.
func (s *Server) runCommand(ctx context.Context, c *container, args []string, in io.Reader, out, errOut io.Writer) (int, error) {
	p := &pipes{}
	defer p.close()
	if err := p.open(in, out, errOut); err != nil {
		return 0, err
	}
	cmd, err := s.startCommand(ctx, c, args, false, p.streams, p.child...)
	shimapi.CloseAll(p.child)
	if err != nil {
		return 0, err
	}
	p.copy()
	code, err := cmd.wait()
	if err != nil {
		return 0, fmt.Errorf("the command was cut off: %w", err)
	}
	done := make(chan struct{})
	go func() { p.outputs.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return code, nil
}

// pipes join a command's streams with readers and writers.
type pipes struct {
	streams [3]bool
	child   []*os.File
	parent  []*os.File
	copies  []func()
	outputs sync.WaitGroup
	// broken is closed when a reader of the output is gone.
	broken chan struct{}
	breaks sync.Once
}

func (p *pipes) open(in io.Reader, out, errOut io.Writer) error {
	p.broken = make(chan struct{})
	if in != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		p.add(0, r, w)
		p.copies = append(p.copies, func() {
			go func() {
				_, _ = io.Copy(w, in)
				w.Close()
				// What the command does not read must not block the connection,
				// which carries its output and exit code too.
				_, _ = io.Copy(io.Discard, in)
			}()
		})
	}
	for i, dst := range []io.Writer{out, errOut} {
		if dst == nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		p.add(1+i, w, r)
		p.copies = append(p.copies, func() {
			p.outputs.Go(func() {
				if _, err := io.Copy(dst, r); err != nil {
					// The writer must not wait for a reader that is gone.
					r.Close()
					p.breaks.Do(func() { close(p.broken) })
				}
			})
		})
	}
	return nil
}

func (p *pipes) add(place int, child, parent *os.File) {
	p.streams[place] = true
	p.child = append(p.child, child)
	p.parent = append(p.parent, parent)
}

func (p *pipes) copy() {
	for _, f := range p.copies {
		f()
	}
}

func (p *pipes) close() {
	shimapi.CloseAll(p.child)
	shimapi.CloseAll(p.parent)
	p.outputs.Wait()
}

// limited takes the first part and drops the rest, as it must be read.
func limited(b *bytes.Buffer) io.Writer { return &limitedWriter{b} }

type limitedWriter struct{ b *bytes.Buffer }

func (l *limitedWriter) Write(p []byte) (int, error) {
	if room := maxSyncOutput - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// terminalPair makes the socket over which a command's terminal arrives.
func terminalPair() (own, child *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), os.NewFile(uintptr(fds[1]), "terminal"), nil
}
