// Package forward passes bytes between a listener and an address as they come:
// no delay for small writes, each direction closed on its own.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
)

// Serve listens on a Unix socket (0600; a stale one is replaced) and forwards
// each connection to the TCP address, until ctx ends. It returns once it listens.
func Serve(ctx context.Context, socket, address string, log *slog.Logger) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forwarding %s: %w", socket, err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("forwarding %s: %w", socket, err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("forwarding %s: %w", socket, err)
	}
	go Accept(ctx, l, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}, log)
	return nil
}

// Accept forwards each connection of l to what dial returns, until ctx ends;
// it closes l.
func Accept(ctx context.Context, l net.Listener, dial func(context.Context) (net.Conn, error), log *slog.Logger) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				log.Error("forwarding ended", "address", l.Addr(), "error", err)
			}
			return
		}
		go func() {
			up, err := dial(ctx)
			if err != nil {
				log.Debug("forwarding a connection", "address", l.Addr(), "error", err)
				c.Close()
				return
			}
			Pipe(ctx, c, up)
		}()
	}
}

type halfCloser interface{ CloseWrite() error }

// Pipe copies both ways until both sides are done or ctx ends, and closes both.
func Pipe(ctx context.Context, a, b net.Conn) {
	defer a.Close()
	defer b.Close()
	stop := context.AfterFunc(ctx, func() { a.Close(); b.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			// io.Copy splices between sockets: no buffer, no delay.
			_, err := io.Copy(way[1], way[0])
			if h, ok := way[1].(halfCloser); ok && err == nil {
				h.CloseWrite()
				return
			}
			way[1].Close()
		})
	}
	both.Wait()
}
