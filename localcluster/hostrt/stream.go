package hostrt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	remotecommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// podDialTimeout bounds a dial inside a pod, where a server that does not
// accept gives no event.
const podDialTimeout = 10 * time.Second

// serveStreams starts the server to which the kubelet sends the clients of
// exec, attach and port-forward, on the node's own loopback. Each URL holds a
// random token that is good once and for a minute.
func (s *Server) serveStreams() (stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for streams: %w", err)
	}
	cfg := streaming.DefaultConfig
	cfg.Addr = l.Addr().String()
	cfg.BaseURL = &url.URL{Scheme: "http", Host: cfg.Addr}
	srv, err := streaming.NewServer(cfg, (*streamRuntime)(s))
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("listening for streams: %w", err)
	}
	s.mu.Lock()
	s.stream = srv
	s.mu.Unlock()
	h := &http.Server{Handler: srv}
	go func() {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serving streams", "error", err)
		}
	}()
	return func() { h.Close() }, nil
}

// Exec implements the CRI.
func (s *Server) Exec(_ context.Context, r *rt.ExecRequest) (*rt.ExecResponse, error) {
	if _, err := s.runningContainer(r.GetContainerId()); err != nil {
		return nil, err
	}
	return s.stream.GetExec(r)
}

// Attach implements the CRI.
func (s *Server) Attach(_ context.Context, r *rt.AttachRequest) (*rt.AttachResponse, error) {
	if _, err := s.runningContainer(r.GetContainerId()); err != nil {
		return nil, err
	}
	return s.stream.GetAttach(r)
}

// PortForward implements the CRI.
func (s *Server) PortForward(_ context.Context, r *rt.PortForwardRequest) (*rt.PortForwardResponse, error) {
	if _, err := s.pod(r.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return s.stream.GetPortForward(r)
}

// streamRuntime is what the streaming server calls.
type streamRuntime Server

func (r *streamRuntime) server() *Server { return (*Server)(r) }

// Exec runs a command on a client's streams. The exit code comes back as an
// error that has it.
func (r *streamRuntime) Exec(ctx context.Context, id string, args []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	s := r.server()
	c, err := s.runningContainer(id)
	if err != nil {
		return err
	}
	var code int
	if tty {
		code, err = s.runOnTerminal(ctx, c, args, in, out, resize)
	} else {
		code, err = s.runCommand(ctx, c, args, in, writer(out), writer(errOut))
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return &utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

// writer keeps a missing stream from becoming an interface that is not nil.
func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

func (s *Server) runOnTerminal(ctx context.Context, c *container, args []string, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) (int, error) {
	own, child, err := terminalPair()
	if err != nil {
		return 0, err
	}
	defer own.Close()
	cmd, err := s.startCommand(ctx, c, args, true, [3]bool{}, child)
	child.Close()
	if err != nil {
		return 0, err
	}
	tty, err := shimapi.ReceiveTerminal(own)
	if err != nil {
		cmd.stream.Close()
		return 0, err
	}
	defer tty.Close()
	go followSize(ctx, resize, func(w, h uint16) {
		_ = unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: h, Col: w})
	})
	if in != nil {
		go func() { _, _ = io.Copy(tty, in) }()
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		if out != nil {
			_, _ = io.Copy(out, tty)
			// Of a client that is gone the command learns as of a closed window.
			tty.Close()
		}
	}()
	code, err := cmd.wait()
	if err != nil {
		return 0, fmt.Errorf("the command was cut off: %w", err)
	}
	select {
	case <-copied:
	case <-ctx.Done():
	}
	return code, nil
}

func followSize(ctx context.Context, resize <-chan remotecommand.TerminalSize, set func(width, height uint16)) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-resize:
			if !ok {
				return
			}
			if size.Width > 0 && size.Height > 0 {
				set(size.Width, size.Height)
			}
		}
	}
}

// Attach joins a client to the streams of a container's own process.
func (r *streamRuntime) Attach(ctx context.Context, id string, in io.Reader, out, errOut io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	s := r.server()
	c, err := s.runningContainer(id)
	if err != nil {
		return err
	}
	p := &pipes{}
	defer p.close()
	if err := p.open(in, writer(out), writer(errOut)); err != nil {
		return err
	}
	stream, err := c.client().Open(ctx, shimapi.Request{Op: shimapi.OpAttach, ID: id, Streams: p.streams}, p.child...)
	shimapi.CloseAll(p.child)
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := stream.Next(); err != nil {
		return err
	}
	p.copy()
	go followSize(ctx, resize, func(w, h uint16) {
		_, _ = c.client().Call(ctx, shimapi.Request{Op: shimapi.OpResize, ID: id, Width: w, Height: h})
	})
	ended := make(chan error, 1)
	go func() {
		_, err := stream.Next()
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-p.broken: // the client is gone; the container goes on
		return nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	p.outputs.Wait() // the last words are on their way
	return nil
}

// PortForward joins a client to a port of the pod's own loopback.
func (r *streamRuntime) PortForward(ctx context.Context, id string, port int32, client io.ReadWriteCloser) error {
	defer client.Close()
	p, err := r.server().pod(id)
	if err != nil {
		return err
	}
	conn, err := p.dial(ctx, port)
	if err != nil {
		return fmt.Errorf("port %d of the pod: %w", port, err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, client)
		// A client may have sent all and still wait for the answer.
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, conn)
	return nil
}

// dial connects to the pod's loopback from inside its network namespace.
func (p *pod) dial(ctx context.Context, port int32) (net.Conn, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.record.ShimPID))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the thread stays in the pod's namespace and ends.
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		// Addresses and no name, so the sockets are made on this thread.
		d := net.Dialer{Timeout: podDialTimeout}
		conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, unix.ECONNREFUSED) {
			// A server may take "localhost" for its IPv6 address alone.
			if six, err6 := d.DialContext(ctx, "tcp", fmt.Sprintf("[::1]:%d", port)); err6 == nil {
				conn, err = six, nil
			}
		}
		done <- result{conn, err}
	}()
	res := <-done
	return res.conn, res.err
}
