package ownsocket

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

func TestCaller(t *testing.T) {
	absent := errors.New("nobody is there")
	socket := filepath.Join(t.TempDir(), "s")
	c := NewCaller(socket, "the server", absent)
	if _, err := c.Send(t.Context(), http.MethodGet, "/", nil); !errors.Is(err, absent) {
		t.Errorf("without a server: %v", err)
	}
	if _, err := c.Server(t.Context()); !errors.Is(err, absent) {
		t.Errorf("the process of no server: %v", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "not today", http.StatusConflict)
			return
		}
		_, _ = io.Copy(w, r.Body)
	})}
	go srv.Serve(Only(l))
	defer srv.Close()
	res, err := c.Send(t.Context(), http.MethodPost, "/echo", map[string]int{"a": 1})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != `{"a":1}` {
		t.Errorf("sent and read back: %q, %v", got, err)
	}
	var refusal *Refusal
	if _, err := c.Send(t.Context(), http.MethodGet, "/no", nil); !errors.As(err, &refusal) || refusal.Status != http.StatusConflict || err.Error() != "not today" {
		t.Errorf("a refusal: %v", err)
	}
	if pid, err := c.Server(t.Context()); err != nil || pid != os.Getpid() {
		t.Errorf("the server's process: %d, %v", pid, err)
	}
	// As its last server left it.
	srv.Close()
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), http.MethodGet, "/", nil); !errors.Is(err, absent) {
		t.Errorf("after the server: %v", err)
	}
}
