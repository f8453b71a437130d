package holder

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestDialWhenServed(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if _, err := dialWhenServed(t.Context(), socket, 20*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nobody came: %v", err)
	}
	// A stale socket, then none, then one that is served.
	stale, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	got := make(chan error, 1)
	go func() {
		c, err := dialWhenServed(t.Context(), socket, 10*time.Second)
		if err == nil {
			c.Close()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("a stale socket was dialed: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	l, err := listenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}
