package nodedial

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// serve answers one CONNECT on a socket as the holder does, then echoes.
func serve(t *testing.T, answer string) string {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil || req.Method != http.MethodConnect || req.Host != "10.0.0.7:80" {
			return
		}
		io.WriteString(c, answer)
		io.Copy(c, r)
	}()
	return socket
}

func TestDial(t *testing.T) {
	for name, answer := range map[string]string{"alone": "", "with the first bytes": "early "} {
		t.Run(name, func(t *testing.T) {
			c, err := Dialer{serve(t, "HTTP/1.1 200 OK\r\n\r\n"+answer)}.DialContext(t.Context(), "tcp", "10.0.0.7:80")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, "echo"); err != nil {
				t.Fatal(err)
			}
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(c); err != nil || string(got) != answer+"echo" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestDialFails(t *testing.T) {
	_, err := Dialer{serve(t, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 18\r\n\r\nconnection refused")}.DialContext(t.Context(), "tcp", "10.0.0.7:80")
	if err == nil || err.Error() != "dialing 10.0.0.7:80 in the node: connection refused" {
		t.Errorf("%v", err)
	}
	_, err = Dialer{serve(t, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")}.DialContext(t.Context(), "tcp", "10.0.0.7:80")
	if err == nil || err.Error() != "dialing 10.0.0.7:80 in the node: 405 Method Not Allowed" {
		t.Errorf("%v", err)
	}
	if _, err = (Dialer{filepath.Join(t.TempDir(), "none")}).DialContext(t.Context(), "tcp", "10.0.0.7:80"); !errors.Is(err, ErrNoNode) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = (Dialer{serve(t, "")}).DialContext(ctx, "tcp", "10.0.0.7:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a holder that does not answer: %v", err)
	}
}
