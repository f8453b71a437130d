package forward

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
)

// A request that ends by half-closing must still get its answer.
func TestHalfCloseReachesTheOtherSide(t *testing.T) {
	up, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	go func() {
		c, err := up.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		got, _ := io.ReadAll(c)
		c.Write(append([]byte("echo "), got...))
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	socket := filepath.Join(t.TempDir(), "s")
	if err := Serve(ctx, socket, up.Addr().String(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("hello"))
	c.(*net.UnixConn).CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "echo hello" {
		t.Errorf("got %q, %v", got, err)
	}
	cancel()
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
}
