package expose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/mlstudio/studio/localcluster/backend"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/engine/client"
)

func TestParse(t *testing.T) {
	for ref, want := range map[string][3]string{
		"web": {"", "web", ""}, "web:80": {"", "web", "80"}, "svc/web:http": {backend.Service, "web", "http"}, "Pod/p": {backend.Pod, "p", ""},
	} {
		kind, name, port, err := parse(ref)
		if err != nil || [3]string{kind, name, port} != want {
			t.Errorf("%s: %s %s %s, %v", ref, kind, name, port, err)
		}
	}
	for _, ref := range []string{"", ":80", "job/x", "svc/", "svc/a/b"} {
		var refusal *client.Refusal
		if _, _, _, err := parse(ref); !errors.As(err, &refusal) || refusal.Cure == "" {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// noAPI is what a manager has while the API server starts.
func noAPI(t *testing.T, dir datadir.Dir) *Manager {
	t.Helper()
	m, err := Open(t.Context(), Config{Dir: dir, Log: slog.New(slog.DiscardHandler), Client: func(ctx context.Context) (kubernetes.Interface, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRememberedAndRemoved(t *testing.T) {
	dir := datadir.Dir(t.TempDir())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	text := fmt.Sprintf(`[{"kind":"Service","namespace":"ns","name":"web","port":"80","localPort":0},{"kind":"Pod","namespace":"ns","name":"p","port":"1","localPort":%d}]`, port)
	if err := os.WriteFile(dir.Exposed(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := noAPI(t, dir)
	list := m.List()
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	var open, failed client.Exposure
	for _, x := range list {
		if x.State == client.ExposureFailed {
			failed = x
		} else {
			open = x
		}
	}
	// The taken one says by whom: by this test.
	if failed.LocalPort != port || !strings.Contains(failed.Message, fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("%+v", failed)
	}
	if open.State != client.ExposureWaiting {
		t.Errorf("%+v", open)
	}
	conn, err := net.Dial("tcp", open.Address)
	if err != nil {
		t.Fatalf("it does not listen: %v", err)
	}
	conn.Close()

	if _, err := m.Remove("other", "web"); err == nil {
		t.Error("a name in another namespace was removed")
	}
	if gone, err := m.Remove("ns", "svc/web:80"); err != nil || len(gone) != 1 {
		t.Errorf("%v, %v", gone, err)
	}
	if conn, err := net.Dial("tcp", open.Address); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	if again := noAPI(t, dir).List(); len(again) != 1 || again[0].Name != "p" {
		t.Errorf("after a restart: %+v", again)
	}
	if gone, err := m.Remove("ns", fmt.Sprint(port)); err != nil || len(gone) != 1 {
		t.Errorf("%v, %v", gone, err)
	}
}

func TestListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := listener(l.Addr().(*net.TCPAddr).Port); !strings.HasPrefix(got, fmt.Sprintf("process %d (", os.Getpid())) {
		t.Error(got)
	}
}
