package shim

import (
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/sandbox"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// pick hands out the descriptors of a request by their places.
func pick(streams [3]bool, files []*os.File) (out [3]*os.File, err error) {
	for i, has := range streams {
		if !has {
			continue
		}
		if len(files) == 0 {
			return out, shimapi.Errorf("a stream is missing")
		}
		out[i], files = files[0], files[1:]
	}
	return out, nil
}

// exec runs a further command on the descriptors of the client. With a
// terminal the one descriptor is a socket, over which the client gets it. The
// command is killed when the client leaves.
func (c *container) exec(conn *net.UnixConn, req *shimapi.Request, files []*os.File) error {
	c.shim.mu.Lock()
	running := c.state.Phase == shimapi.Running
	c.shim.mu.Unlock()
	if !running || req.Exec == nil {
		return shimapi.Errorf("container %s is not running", c.spec.ID)
	}
	var stdio sandbox.IO
	if req.TTY {
		if len(files) != 1 {
			return shimapi.Errorf("a terminal needs one socket")
		}
		stdio.Console = files[0]
	} else {
		f, err := pick(req.Streams, files)
		if err != nil {
			return err
		}
		stdio = sandbox.IO{Stdin: f[0], Stdout: f[1], Stderr: f[2]}
	}
	p, err := c.sb.Exec(req.Exec, stdio)
	// The client must see the end of its streams when the command ends.
	shimapi.CloseAll(files)
	if err != nil {
		return err
	}
	go func() {
		var none shimapi.Request
		if _, err := shimapi.Receive(conn, &none); err != nil {
			_ = p.Signal(int(unix.SIGKILL))
		}
	}()
	if err := shimapi.Send(conn, shimapi.Response{}); err != nil {
		_ = p.Signal(int(unix.SIGKILL))
	}
	code, _ := p.Wait()
	return shimapi.Send(conn, shimapi.Response{Done: true, Code: code})
}

// attach joins a client to the container's streams until either ends.
func (c *container) attach(conn *net.UnixConn, req *shimapi.Request, files []*os.File) error {
	f, err := pick(req.Streams, files)
	if err != nil {
		return err
	}
	c.shim.mu.Lock()
	running := c.state.Phase == shimapi.Running
	c.shim.mu.Unlock()
	if !running {
		return shimapi.Errorf("container %s is not running", c.spec.ID)
	}
	a := &attachment{stdout: f[1], stderr: f[2], end: make(chan struct{})}
	c.out.add(a)
	defer c.out.remove(a)
	if f[0] != nil {
		go c.in.feed(f[0])
	}
	if err := shimapi.Send(conn, shimapi.Response{}); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var none shimapi.Request
		_, _ = shimapi.Receive(conn, &none)
	}()
	select {
	case <-gone:
		return nil
	case <-a.end:
	}
	// Only after the exit is noted does the client look for its code.
	<-c.done
	return shimapi.Send(conn, shimapi.Response{Done: true})
}
