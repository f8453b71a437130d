package ownsocket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/sys/unix"
)

// Caller makes HTTP requests of the server at a socket, each by a connection of
// its own.
type Caller struct {
	socket, who string
	absent      error
	http        http.Client
}

// NewCaller returns a caller, whether or not someone serves the socket. who is
// how errors name the server; absent is the error when there is none.
func NewCaller(socket, who string, absent error) *Caller {
	c := &Caller{socket: socket, who: who, absent: absent}
	c.http.Transport = &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableKeepAlives: true,
	}
	return c
}

// Refusal is an answer whose status is no success.
type Refusal struct {
	Status int
	// Body is its begin.
	Body []byte
}

// Error is what the server said.
func (r *Refusal) Error() string { return string(bytes.TrimSpace(r.Body)) }

// Send makes a request with a body in JSON, or none where it is nil. An answer
// that is no success is a *Refusal.
func (c *Caller) Send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://unix"+path, r)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if res.StatusCode < http.StatusBadRequest {
		return res, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil, c.explain(err)
	}
	return nil, &Refusal{res.StatusCode, text}
}

// Server asks the kernel for the process that serves the socket.
func (c *Caller) Server(ctx context.Context) (pid int, err error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return 0, c.explain(err)
	}
	defer conn.Close()
	cred, err := peer(conn)
	if err != nil {
		return 0, c.explain(err)
	}
	return int(cred.Pid), nil
}

func (c *Caller) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", c.socket)
}

func (c *Caller) explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return c.absent
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("asking %s: %w; it belongs to another user", c.who, err)
	}
	return fmt.Errorf("asking %s: %w", c.who, err)
}
