package shimapi

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serve answers one connection of a shim's socket in a folder with a path that
// is longer than a socket's may be.
func serve(t *testing.T, answer func(*net.UnixConn)) Client {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		answer(conn.(*net.UnixConn))
	}()
	return Client{Dir: dir}
}

func TestCallCarriesFilesAndLongMessages(t *testing.T) {
	want := strings.Repeat("e", 1<<20)
	c := serve(t, func(conn *net.UnixConn) {
		var req Request
		files, err := Receive(conn, &req)
		if err != nil || len(files) != 1 || len(req.Exec.Env) != 1 || req.Exec.Env[0] != want {
			_ = Send(conn, Response{Error: Errorf("got %d files, %v", len(files), err)})
			return
		}
		_, err = files[0].WriteString("through the descriptor")
		CloseAll(files)
		_ = Send(conn, Response{Done: err == nil, Code: 3})
	})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	res, err := c.Call(context.Background(), Request{Op: OpExec, Exec: &Process{Env: []string{want}}}, w)
	w.Close()
	if err != nil || !res.Done || res.Code != 3 {
		t.Fatalf("answer %+v, %v", res, err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "through the descriptor" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestCallTellsAFailureFromADeath(t *testing.T) {
	c := serve(t, func(conn *net.UnixConn) {
		var req Request
		if _, err := Receive(conn, &req); err != nil {
			t.Error(err)
		}
		_ = Send(conn, Response{Error: &Error{Reason: "ContainerCannotRun", Message: "no such command", Code: 127}})
	})
	_, err := c.Call(context.Background(), Request{Op: OpStart})
	var own *Error
	if !errors.As(err, &own) || own.Code != 127 || own.Reason != "ContainerCannotRun" {
		t.Errorf("a failure came as %v", err)
	}
	c = serve(t, func(conn *net.UnixConn) {})
	var none *Error
	if _, err = c.Call(context.Background(), Request{Op: OpStart}); err == nil || errors.As(err, &none) {
		t.Errorf("a death came as %v", err)
	}
	if _, err := (Client{Dir: t.TempDir()}).Call(context.Background(), Request{Op: OpStart}); err == nil {
		t.Error("a missing socket is no error")
	}
}

func TestStateIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	for _, phase := range []Phase{Running, Exited} {
		if err := WriteState(dir, State{ID: "c", Phase: phase}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, StateName))
		if err != nil || !strings.Contains(string(raw), `"phase":"`+string(phase)+`"`) {
			t.Errorf("stored %s, %v", raw, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
}
