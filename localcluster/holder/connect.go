package holder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/mlstudio/studio/localcluster/forward"
)

// nodeDialTimeout bounds a dial inside the node, where a pod that just went
// gives no event.
const nodeDialTimeout = 10 * time.Second

// serveConnect is the API server's way to the kubelet and the pods: HTTP
// CONNECT on a Unix socket. It returns once it listens.
func serveConnect(ctx context.Context, socket string, dial func(context.Context, string) (net.Conn, error), log *slog.Logger) error {
	l, err := listenUnix(socket)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go connect(ctx, c, dial, log)
		}
	}()
	return nil
}

// listenUnix listens on a socket for this user alone, in place of a stale one.
func listenUnix(socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("serving %s: %w", socket, err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("serving %s: %w", socket, err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("serving %s: %w", socket, err)
	}
	return l, nil
}

// connect serves one CONNECT request.
func connect(ctx context.Context, c net.Conn, dial func(context.Context, string) (net.Conn, error), log *slog.Logger) {
	buffered := bufio.NewReader(c)
	req, err := http.ReadRequest(buffered)
	if err != nil {
		c.Close()
		return
	}
	if req.Method != http.MethodConnect {
		io.WriteString(c, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
		c.Close()
		return
	}
	up, err := dial(ctx, req.Host)
	if err != nil {
		log.Debug("dialing into the node", "address", req.Host, "error", err)
		fmt.Fprintf(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: %d\r\n\r\n%s", len(err.Error()), err)
		c.Close()
		return
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		c.Close()
		up.Close()
		return
	}
	// What the client sent with its request goes first.
	if n := buffered.Buffered(); n > 0 {
		early, _ := buffered.Peek(n)
		if _, err := up.Write(early); err != nil {
			c.Close()
			up.Close()
			return
		}
	}
	forward.Pipe(ctx, c, up)
}
