package hostrt_test

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stream runs a command as the kubelet's clients do: over the URL that Exec gives.
func (c *container) stream(in string, tty bool, args ...string) (stdout, stderr string, err error) {
	t := c.p.n.t
	t.Helper()
	res, err := c.p.n.rt.Exec(context.Background(), &rt.ExecRequest{ContainerId: c.id, Cmd: args, Tty: tty, Stdin: in != "", Stdout: true, Stderr: !tty})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(res.Url)
	if err != nil {
		t.Fatal(err)
	}
	client, err := remotecommand.NewSPDYExecutor(&rest.Config{}, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var out, errOut bytes.Buffer
	opts := remotecommand.StreamOptions{Stdout: &out, Tty: tty}
	if in != "" {
		opts.Stdin = strings.NewReader(in)
	}
	if !tty {
		opts.Stderr = &errOut
	}
	err = client.StreamWithContext(ctx, opts)
	return out.String(), errOut.String(), err
}

func TestExecStreams(t *testing.T) {
	n := newNode(t)
	c := n.pod().run("echo up; sleep 4715")
	c.waitOutput("up")
	out, errOut, err := c.stream("from outside", false, "sh", "-c", "cat; echo err >&2; exit 9")
	var code utilexec.CodeExitError
	if out != "from outside" || errOut != "err\n" || !errors.As(err, &code) || code.Code != 9 {
		t.Errorf("%q, %q, %v", out, errOut, err)
	}
	out, _, err = c.stream("", true, "sh", "-c", "test -t 1 && echo terminal $TERM")
	if out != "terminal xterm\r\n" || err != nil {
		t.Errorf("with a terminal: %q, %v", out, err)
	}
	if _, _, err = c.stream("", false, "no-such-command"); err == nil || !strings.Contains(err.Error(), `"no-such-command": executable file not found`) {
		t.Errorf("no such command: %v", err)
	}
}

func TestExecSync(t *testing.T) {
	n := newNode(t)
	c := n.pod().run("echo up; sleep 4716")
	c.waitOutput("up")
	run := func(timeout int64, args ...string) (*rt.ExecSyncResponse, error) {
		return n.rt.ExecSync(context.Background(), &rt.ExecSyncRequest{ContainerId: c.id, Cmd: args, Timeout: timeout})
	}
	if res, err := run(5, "sh", "-c", "echo out; echo err >&2; exit 3"); err != nil || res.ExitCode != 3 || string(res.Stdout) != "out\n" || string(res.Stderr) != "err\n" {
		t.Errorf("%v, %v", res, err)
	}
	if res, err := run(5, "no-such-command"); err != nil || res.ExitCode != 127 {
		t.Errorf("no such command: %v, %v", res, err)
	}
	begun := time.Now()
	if res, err := run(1, "sleep", "4717"); err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("a command that takes too long: %v, %v", res, err)
	}
	within(t, "it is killed", func() bool { return marked(t, "sleep\x004717") == 0 })
}

func TestReopenLog(t *testing.T) {
	n := newNode(t)
	p := n.pod()
	c := p.run("echo first; while ! [ -e /tmp/go ]; do sleep 0.02; done; echo second")
	c.waitOutput("first")
	log := filepath.Join(p.cfg.LogDirectory, c.cfg.LogPath)
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.rt.ReopenContainerLog(context.Background(), &rt.ReopenContainerLogRequest{ContainerId: c.id}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.rt.ExecSync(context.Background(), &rt.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"touch", "/tmp/go"}, Timeout: 5}); err != nil {
		t.Fatal(err)
	}
	c.wait()
	old, err := os.ReadFile(log + ".1")
	if err != nil || !strings.Contains(string(old), "first") || strings.Contains(string(old), "second") || c.output("stdout") != "second\n" {
		t.Errorf("old %q (%v), new %q", old, err, c.output("stdout"))
	}
}
