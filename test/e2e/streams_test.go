//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

// protocols are kubectl's two, the older one first.
var protocols = []string{"spdy", "websocket"}

// remote opens exec or attach, as kubectl does.
func (e *engine) remote(protocol, pod, verb string, options runtime.Object) remotecommand.Executor {
	e.t.Helper()
	cfg := e.config()
	u := e.client().CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource(verb).
		VersionedParams(options, scheme.ParameterCodec).URL()
	var x remotecommand.Executor
	var err error
	if protocol == "spdy" {
		x, err = remotecommand.NewSPDYExecutor(cfg, "POST", u)
	} else {
		x, err = remotecommand.NewWebSocketExecutor(cfg, "GET", u.String())
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return x
}

// execute runs a script in a pod on streams.
func (e *engine) execute(protocol, pod, script string, s remotecommand.StreamOptions) error {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return e.remote(protocol, pod, "exec", &corev1.PodExecOptions{
		Command: []string{"/bin/sh", "-c", script},
		Stdin:   s.Stdin != nil, Stdout: s.Stdout != nil, Stderr: s.Stderr != nil, TTY: s.Tty,
	}).StreamWithContext(ctx, s)
}

func exitCode(err error) int {
	var code utilexec.CodeExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return code.Code
	}
	return -1
}

// sizes are those that a person gives a terminal's window, one after the other.
type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	if size, ok := <-s; ok {
		return &size
	}
	return nil
}

// expect collects output and tells when a text has come.
type expect struct {
	mu    sync.Mutex
	got   bytes.Buffer
	text  string
	found chan struct{}
}

func expecting(text string) *expect { return &expect{text: text, found: make(chan struct{})} }

func (x *expect) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, err := x.got.Write(p)
	select {
	case <-x.found:
	default:
		if strings.Contains(x.got.String(), x.text) {
			close(x.found)
		}
	}
	return n, err
}

func (x *expect) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.got.String()
}

func (x *expect) wait(t *testing.T) {
	t.Helper()
	select {
	case <-x.found:
	case <-time.After(patience):
		t.Fatalf("%q did not come", x.text)
	}
}

// TestStreamsExec: what `kubectl exec` does, over both protocols.
func TestStreamsExec(t *testing.T) {
	e := newEngine(t)
	e.up()
	e.start(shell("target", "sleep 3600"))
	e.await("target", "running", running)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			e := e.in(t)
			t.Run("each stream and the exit code", func(t *testing.T) { execStreams(e.in(t), protocol) })
			t.Run("much data both ways", func(t *testing.T) { execMuch(e.in(t), protocol) })
			t.Run("a terminal and its size", func(t *testing.T) { execTerminal(e.in(t), protocol) })
			t.Run("many at once", func(t *testing.T) { execMany(e.in(t), protocol) })
			t.Run("the pod ends meanwhile", func(t *testing.T) { execCutOff(e.in(t), protocol) })
			t.Run("the client leaves meanwhile", func(t *testing.T) { execLeft(e.in(t), protocol) })
		})
	}
}

func execStreams(e *engine, protocol string) {
	for code, script := range map[int]string{0: "cat; echo err >&2", 7: "cat; echo err >&2; exit 7", 137: "cat; echo err >&2; kill -9 $$"} {
		var out, errOut bytes.Buffer
		err := e.execute(protocol, "target", script, remotecommand.StreamOptions{Stdin: strings.NewReader("in"), Stdout: &out, Stderr: &errOut})
		if out.String() != "in" || errOut.String() != "err\n" || exitCode(err) != code {
			e.t.Errorf("%q: %q, %q, %v", script, out.String(), errOut.String(), err)
		}
	}
	if err := e.execute(protocol, "target", "exit 3", remotecommand.StreamOptions{Stdout: io.Discard}); exitCode(err) != 3 {
		e.t.Errorf("without other streams: %v", err)
	}
	// The command closes its output long before it ends.
	var out bytes.Buffer
	if err := e.execute(protocol, "target", "echo early; exec >&- 2>&-; sleep 0.3; exit 4", remotecommand.StreamOptions{Stdout: &out, Stderr: io.Discard}); out.String() != "early\n" || exitCode(err) != 4 {
		e.t.Errorf("closed output: %q, %v", out.String(), err)
	}
	// It does not read what was sent, more than any buffer holds.
	unread := io.LimitReader(endless{}, 8<<20)
	if err := e.execute(protocol, "target", "exec <&-; sleep 0.5; exit 5", remotecommand.StreamOptions{Stdin: unread, Stdout: io.Discard}); exitCode(err) != 5 {
		e.t.Errorf("unread input: %v", err)
	}
	err := e.remote(protocol, "target", "exec", &corev1.PodExecOptions{Command: []string{"no-such-command"}, Stdout: true}).
		StreamWithContext(context.Background(), remotecommand.StreamOptions{Stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "no-such-command") {
		e.t.Errorf("a missing command: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// execMuch sends so much that every buffer on the way fills.
func execMuch(e *engine, protocol string) {
	const size = 48 << 20
	sent, got := sha256.New(), sha256.New()
	data := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
	n := new(counter)
	err := e.execute(protocol, "target", "cat", remotecommand.StreamOptions{Stdin: io.TeeReader(data, sent), Stdout: io.MultiWriter(got, n)})
	if err != nil || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		e.t.Errorf("%d of %d bytes came back, %v", *n, size, err)
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func execTerminal(e *engine, protocol string) {
	size := make(sizes, 2)
	size <- remotecommand.TerminalSize{Width: 101, Height: 41}
	in, keys := io.Pipe()
	defer in.Close()
	first, resized := expecting("41 101"), expecting("33 77\r\nresized\r\n")
	done := make(chan error, 1)
	go func() {
		// The shell answers each line with the size that it has then.
		done <- e.execute(protocol, "target", `trap 'stty size; echo resized' WINCH; while ! stty size | grep -v "0 0"; do sleep 0.02; done; while ! read line; do :; done; echo "got $line"; exit 6`,
			remotecommand.StreamOptions{Stdin: in, Stdout: io.MultiWriter(first, resized), Tty: true, TerminalSizeQueue: size})
	}()
	first.wait(e.t)
	size <- remotecommand.TerminalSize{Width: 77, Height: 33}
	close(size)
	resized.wait(e.t)
	if _, err := io.WriteString(keys, "typed\n"); err != nil {
		e.t.Fatal(err)
	}
	if err := <-done; exitCode(err) != 6 {
		e.t.Errorf("%v", err)
	}
	if out := first.String(); !strings.Contains(out, "got typed\r\n") {
		e.t.Errorf("it showed %q", out)
	}
}

func execMany(e *engine, protocol string) {
	const many = 40
	results := make(chan error, many)
	for i := range many {
		go func() {
			var out bytes.Buffer
			err := e.execute(protocol, "target", fmt.Sprintf("cat; exit %d", i), remotecommand.StreamOptions{Stdin: strings.NewReader(fmt.Sprint(i)), Stdout: &out})
			if exitCode(err) != i || out.String() != fmt.Sprint(i) {
				results <- fmt.Errorf("number %d: %q, %v", i, out.String(), err)
				return
			}
			results <- nil
		}()
	}
	for range many {
		if err := <-results; err != nil {
			e.t.Error(err)
		}
	}
}

// execCutOff: who is connected learns within seconds that the pod is gone.
func execCutOff(e *engine, protocol string) {
	name := "ends-" + protocol
	e.start(shell(name, "sleep 3600"))
	e.await(name, "running", running)
	begun := expecting("begun")
	done := make(chan error, 2)
	go func() {
		done <- e.execute(protocol, name, "echo begun; sleep 3600", remotecommand.StreamOptions{Stdout: begun})
	}()
	begun.wait(e.t)
	no := int64(0)
	if err := e.client().CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &no}); err != nil {
		e.t.Fatal(err)
	}
	select {
	case err := <-done:
		if err == nil {
			e.t.Error("the command was cut off and seemed to succeed")
		}
	case <-time.After(20 * time.Second):
		e.t.Error("the client still waits for a pod that is gone")
	}
}

// execLeft: a command that has lost its reader ends, as in a pipeline, on a
// terminal as with a window that is closed.
func execLeft(e *engine, protocol string) {
	for _, tty := range []bool{false, true} {
		word := fmt.Sprintf("left-%s-%t", protocol, tty)
		ctx, leave := context.WithCancel(context.Background())
		seen := expecting(word)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = e.remote(protocol, "target", "exec", &corev1.PodExecOptions{Command: []string{"yes", word}, Stdout: true, TTY: tty}).
				StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: seen, Tty: tty})
		}()
		seen.wait(e.t)
		leave()
		<-done
		e.eventually("the end of the command", func(context.Context) (bool, error) {
			var out bytes.Buffer
			// The brackets keep grep from finding itself.
			err := e.execute("spdy", "target", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[y]es "+word+"' || true", remotecommand.StreamOptions{Stdout: &out})
			return out.String() == "0\n", err
		}, func() string { return word })
	}
}

// TestStreamsAttach: what `kubectl attach` does.
func TestStreamsAttach(t *testing.T) {
	e := newEngine(t)
	e.up()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			e := e.in(t)
			t.Run("input, both outputs and the last words", func(t *testing.T) { attachStreams(e.in(t), protocol) })
			t.Run("a terminal and its size", func(t *testing.T) { attachTerminal(e.in(t), protocol) })
			t.Run("the client leaves meanwhile", func(t *testing.T) { attachLeft(e.in(t), protocol) })
		})
	}
}

func attachStreams(e *engine, protocol string) {
	name := "attach-" + protocol
	p := shell(name, `read line; echo "got $line"; echo "error $line" >&2; seq 100000; echo the last words`)
	p.Spec.Containers[0].Stdin, p.Spec.Containers[0].StdinOnce = true, true
	e.start(p)
	e.await(name, "running", running)
	var out, errOut bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := e.remote(protocol, name, "attach", &corev1.PodAttachOptions{Stdin: true, Stdout: true, Stderr: true}).
		StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("hello\n"), Stdout: &out, Stderr: &errOut})
	if err != nil || !strings.HasPrefix(out.String(), "got hello\n1\n") || !strings.HasSuffix(out.String(), "100000\nthe last words\n") || errOut.String() != "error hello\n" {
		e.t.Errorf("%d bytes ending in %q, %q, %v", out.Len(), tail(out.String(), 40), errOut.String(), err)
	}
	if log := e.logs(name); !strings.HasSuffix(log, "100000\nthe last words\n") {
		e.t.Errorf("the log ends in %q", tail(log, 40))
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func attachTerminal(e *engine, protocol string) {
	name := "attach-tty-" + protocol
	p := shell(name, `while read line; do stty size; echo "got $line"; [ "$line" != end ] || exit 0; done`)
	p.Spec.Containers[0].Stdin, p.Spec.Containers[0].TTY = true, true
	e.start(p)
	e.await(name, "running", running)
	size := make(sizes, 1)
	size <- remotecommand.TerminalSize{Width: 91, Height: 29}
	close(size)
	in, keys := io.Pipe()
	defer in.Close()
	out := expecting("29 91")
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- e.remote(protocol, name, "attach", &corev1.PodAttachOptions{Stdin: true, Stdout: true, TTY: true}).
			StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Tty: true, TerminalSizeQueue: size})
	}()
	// The size comes on a stream of its own, so that it may follow the first line.
	for seen := false; !seen; {
		if _, err := io.WriteString(keys, "look\n"); err != nil {
			e.t.Fatal(err)
		}
		select {
		case <-out.found:
			seen = true
		case err := <-done:
			e.t.Fatalf("it ended: %v, %q", err, tail(out.String(), 200))
		case <-time.After(100 * time.Millisecond):
		}
	}
	if _, err := io.WriteString(keys, "end\n"); err != nil {
		e.t.Fatal(err)
	}
	if err := <-done; err != nil || !strings.HasSuffix(out.String(), "got end\r\n") {
		e.t.Errorf("%v, it showed %q", err, tail(out.String(), 200))
	}
}

// attachLeft: a container whose client is gone goes on.
func attachLeft(e *engine, protocol string) {
	name := "attach-left-" + protocol
	p := shell(name, `while [ ! -e /tmp/enough ]; do seq 2000; done; echo the last words`)
	e.start(p)
	e.await(name, "running", running)
	ctx, leave := context.WithCancel(context.Background())
	seen := expecting("2000\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.remote(protocol, name, "attach", &corev1.PodAttachOptions{Stdout: true}).
			StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: seen})
	}()
	seen.wait(e.t)
	leave()
	<-done
	time.Sleep(300 * time.Millisecond) // enough output to fill every buffer on the way to the client
	if err := e.execute(protocol, name, "touch /tmp/enough", remotecommand.StreamOptions{Stdout: io.Discard}); err != nil {
		e.t.Fatal(err)
	}
	e.await(name, "ended", ended)
	if log := e.logs(name); !strings.HasSuffix(log, "\n2000\nthe last words\n") {
		e.t.Errorf("the log ends in %q", tail(log, 40))
	}
}
