// Package nodedial connects to addresses inside the node's network, which the
// host has no route to: pods, and services by their cluster addresses. The
// holder dials, asked over its Unix socket by HTTP CONNECT. The gateway, expose
// and whoever else has business with a pod share it.
package nodedial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoNode means that no node runs.
var ErrNoNode = errors.New("the node does not run")

// Dialer dials through one node.
type Dialer struct {
	// Socket is the holder's for this: datadir's NodeSocket.
	Socket string
}

// maxReason bounds what is read of the holder's words on a dial that failed.
const maxReason = 4096

// DialContext connects to an address and port of TCP inside the node. It fits
// into http.Transport and grpc.WithContextDialer. The connection closes each
// direction on its own.
func (d Dialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	conn, err := d.connect(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("dialing %s in the node: %w", address, err)
	}
	return conn, nil
}

func (d Dialer) connect(ctx context.Context, address string) (net.Conn, error) {
	var nd net.Dialer
	raw, err := nd.DialContext(ctx, "unix", d.Socket)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, ErrNoNode
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	conn, err := handshake(raw.(*net.UnixConn), address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		raw.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return conn, nil
}

func handshake(raw *net.UnixConn, address string) (net.Conn, error) {
	if _, err := fmt.Fprintf(raw, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address); err != nil {
		return nil, err
	}
	r := bufio.NewReader(raw)
	res, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		// To CONNECT a body is unusual, so that the library reads none.
		reason, _ := io.ReadAll(io.LimitReader(r, min(maxReason, max(0, res.ContentLength))))
		if text := strings.TrimSpace(string(reason)); text != "" {
			return nil, errors.New(text)
		}
		return nil, errors.New(res.Status)
	}
	if r.Buffered() == 0 {
		return raw, nil // as it is, so that copies can be spliced
	}
	return &early{UnixConn: raw, r: r}, nil
}

// early is a connection of which some bytes were read with the answer.
type early struct {
	*net.UnixConn
	r *bufio.Reader
}

func (e *early) Read(p []byte) (int, error) { return e.r.Read(p) }

// WriteTo keeps the copy from going around the bytes that were read.
func (e *early) WriteTo(w io.Writer) (int64, error) { return e.r.WriteTo(w) }
