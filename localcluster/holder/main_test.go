package holder

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/holder/client"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
	"github.com/mlstudio/studio/localcluster/notify"
)

// TestMain lets the test program be the holder and the node half, too.
func TestMain(m *testing.M) {
	namespaces.Hook()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "holder":
			exit(runHolder())
		case "node":
			exit(runNode())
		}
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runHolder() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var ports []uint16
	if p, err := strconv.Atoi(os.Getenv("TEST_HOST_PORT")); err == nil {
		ports = []uint16{uint16(p)}
	}
	return Run(ctx, Config{
		Dir: datadir.Dir(os.Getenv(datadir.Env)), HostPorts: ports, Notify: notify.FromEnv(),
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), NodeLog: os.Stderr,
	})
}

// shellSocket is where the test's node half runs commands for the test.
func shellSocket(d datadir.Dir) string { return filepath.Join(d.Node(), "shell.sock") }

// runNode is a node half that runs shell commands, one a connection, and
// drains by ending the processes named "sleep".
func runNode() error {
	if grace, ok := os.LookupEnv(EnvDrain); ok {
		d := datadir.Dir(os.Getenv(datadir.Env))
		return os.WriteFile(filepath.Join(d.Node(), "drained"), []byte(grace), 0o600)
	}
	d := datadir.Dir(os.Getenv(datadir.Env))
	os.Remove(shellSocket(d))
	l, err := net.Listen("unix", shellSocket(d))
	if err != nil {
		return err
	}
	notify.FromEnv().Send("node", localcluster.Done, os.Getenv(EnvID), 0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		go func() {
			defer c.Close()
			var script string
			if json.NewDecoder(c).Decode(&script) != nil {
				return
			}
			cmd := exec.Command("/bin/sh", "-c", script)
			cmd.Stdout, cmd.Stderr = c, c
			if err := cmd.Run(); err != nil {
				fmt.Fprintf(c, "[%v]", err)
			}
		}()
	}
}

// fixture is a holder on a data directory of its own.
type fixture struct {
	*testing.T
	dir    datadir.Dir
	client *client.Client
	pid    int
}

func startHolder(t *testing.T, env ...string) *fixture {
	t.Helper()
	return startHolderOf(t, "", env...)
}

// startHolderOf starts another program as the holder, one that has TestMain.
func startHolderOf(t *testing.T, program string, env ...string) *fixture {
	t.Helper()
	base, err := os.MkdirTemp("", "st")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, dir: datadir.Dir(filepath.Join(base, "data"))}
	if err := f.dir.Init(); err != nil {
		t.Fatal(err)
	}
	f.client = client.New(f.dir)
	began := time.Now()
	f.pid, err = Spawn(t.Context(), Options{Dir: f.dir, Program: program, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("holder started in %v", time.Since(began))
	t.Cleanup(func() {
		if err := f.client.Kill(context.Background()); err != nil && err != client.ErrNotRunning {
			t.Errorf("killing the holder: %v", err)
		}
		if err := namespaces.RemoveAll(context.Background(), base); err != nil {
			t.Errorf("removing the data directory: %v", err)
		}
		if raw, err := os.ReadFile(f.dir.Log(startOutput)); err == nil && t.Failed() {
			t.Logf("%s", raw)
		}
	})
	return f
}

// startNode starts the node half and waits for its word.
func (f *fixture) startNode() {
	f.Helper()
	began := time.Now()
	if err := f.client.StartNode(f.Context()); err != nil {
		f.Fatal(err)
	}
	// An earlier start's word is still among the events.
	f.await(func(e localcluster.Event) bool {
		return e.Phase == "node" && e.State == localcluster.Done && !e.Time.Before(began)
	})
}

// await reads the holder's events until want holds for one.
func (f *fixture) await(want func(localcluster.Event) bool) localcluster.Event {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 10*time.Second)
	defer cancel()
	var found localcluster.Event
	err := f.client.Events(ctx, func(e localcluster.Event) {
		if found.Phase == "" && want(e) {
			found = e
			cancel()
		}
	})
	if found.Phase == "" {
		f.Fatalf("no such event: %v", err)
	}
	return found
}

// shell runs a script in the node half and returns its output; an exit code
// other than 0 follows in brackets.
func (f *fixture) shell(script string) string {
	f.Helper()
	c, err := net.Dial("unix", shellSocket(f.dir))
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(script); err != nil {
		f.Fatal(err)
	}
	out := make([]byte, 0, 4096)
	for buffer := make([]byte, 4096); ; {
		n, err := c.Read(buffer)
		out = append(out, buffer[:n]...)
		if err != nil {
			return string(out)
		}
	}
}
