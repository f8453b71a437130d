package shimapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
)

// Client speaks to one shim. It keeps no connection.
type Client struct {
	// Dir is the sandbox's folder.
	Dir string
}

// InDir calls f with a short path of a file in a folder: a socket's path may
// have 107 bytes only, and a data directory may lie deeper.
func InDir(dir, name string, f func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
}

// Listen makes a shim's socket, for the shim to inherit.
func Listen(dir string) (*os.File, error) {
	if err := os.Remove(filepath.Join(dir, SocketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var file *os.File
	err := InDir(dir, SocketName, func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		defer l.Close()
		l.SetUnlinkOnClose(false)
		file, err = l.File()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the shim's socket in %s: %w", dir, err)
	}
	return file, nil
}

func (c Client) dial(ctx context.Context) (*net.UnixConn, error) {
	var conn net.Conn
	err := InDir(c.Dir, SocketName, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reaching the pod's shim: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// Stream is a request with more than one answer.
type Stream struct {
	conn *net.UnixConn
	stop func() bool
}

// Open sends a request and leaves the answers to Next. The context ends it.
func (c Client) Open(ctx context.Context, req Request, files ...*os.File) (*Stream, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	s := &Stream{conn: conn, stop: context.AfterFunc(ctx, func() { conn.Close() })}
	if err := Send(conn, req, files...); err != nil {
		s.Close()
		return nil, fmt.Errorf("asking the pod's shim: %w", err)
	}
	return s, nil
}

// Next waits for the next answer. io.EOF means that the shim closed or died.
func (s *Stream) Next() (Response, error) {
	var r Response
	files, err := Receive(s.conn, &r)
	CloseAll(files)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	if err == nil && r.Error != nil {
		return r, r.Error
	}
	return r, err
}

// Close ends the request.
func (s *Stream) Close() {
	s.stop()
	s.conn.Close()
}

// Call sends a request and waits for its one answer. A failure in the shim is an *Error.
func (c Client) Call(ctx context.Context, req Request, files ...*os.File) (Response, error) {
	s, err := c.Open(ctx, req, files...)
	if err != nil {
		return Response{}, err
	}
	defer s.Close()
	r, err := s.Next()
	if err != nil && ctx.Err() != nil {
		return r, ctx.Err()
	}
	var own *Error
	if err != nil && !errors.As(err, &own) {
		return r, fmt.Errorf("waiting for the pod's shim: %w", err)
	}
	return r, err
}
