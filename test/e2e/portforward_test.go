//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// answers is a server that reads all that a client sends, then answers with its
// SHA-256; what begins with "hold" it keeps open.
const answers = `
import socketserver, hashlib, time
class H(socketserver.BaseRequestHandler):
    def handle(self):
        sum, first = hashlib.sha256(), True
        while data := self.request.recv(1 << 16):
            if first and data.startswith(b"hold"):
                self.request.sendall(b"held"); time.sleep(3600)
            first = False
            sum.update(data)
        self.request.sendall(sum.hexdigest().encode())
class S(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128
class S6(S):
    address_family = socketserver.socket.AF_INET6
import threading
try:
    threading.Thread(target=S6(("::1", 8081), H).serve_forever, daemon=True).start()
except OSError: pass
s = S(("127.0.0.1", 8080), H)
print("listens", flush=True)
s.serve_forever()
`

// forward joins a port of this machine to a pod's, as kubectl does.
func (e *engine) forward(protocol, pod string, port int) (address string) {
	e.t.Helper()
	cfg := e.config()
	u := e.client().CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u)
	if protocol != "spdy" {
		if dialer, err = portforward.NewSPDYOverWebsocketDialer(u, cfg); err != nil {
			e.t.Fatal(err)
		}
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	e.t.Cleanup(func() { close(stop) })
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		e.t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- f.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-over:
		e.t.Fatalf("forwarding port %d of %s: %v", port, pod, err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		e.t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
}

// TestStreamsPortForward: what `kubectl port-forward` does, over both protocols.
func TestStreamsPortForward(t *testing.T) {
	e := newEngine(t)
	e.up()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			e := e.in(t)
			name := "server-" + protocol
			p := shell(name, "")
			p.Spec.Containers[0].Command = []string{"/usr/bin/python3", "-c", answers}
			e.start(p)
			e.await(name, "running", running)
			e.eventually("the server", func(context.Context) (bool, error) { return e.logs(name) == "listens\n", nil })
			at := e.forward(protocol, name, 8080)
			t.Run("an answer after the last byte, much data", func(t *testing.T) { forwardMuch(t, at) })
			t.Run("many at once", func(t *testing.T) { forwardMany(t, at) })
			t.Run("a server on IPv6 alone", func(t *testing.T) {
				six := e.in(t).forward(protocol, name, 8081)
				if got, err := ask(six, []byte("x")); err != nil || len(got) != 64 {
					t.Errorf("%q, %v", got, err)
				}
			})
			t.Run("nobody listens", func(t *testing.T) {
				none := e.in(t).forward(protocol, name, 8999)
				if got, err := ask(none, []byte("x")); err == nil && len(got) > 0 {
					t.Errorf("it answered %q", got)
				}
			})
			t.Run("the pod ends meanwhile", func(t *testing.T) { forwardCutOff(e.in(t), at, name) })
		})
	}
}

// ask sends all, says that it was all, and reads the answer.
func ask(address string, data []byte) (string, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := c.Write(data); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return string(answer), err
}

func forwardMuch(t *testing.T, at string) {
	data := make([]byte, 24<<20)
	rand.NewChaCha8([32]byte{2}).Read(data)
	if got, err := ask(at, data); err != nil || got != fmt.Sprintf("%x", sha256.Sum256(data)) {
		t.Errorf("%q, %v", got, err)
	}
}

func forwardMany(t *testing.T, at string) {
	const many = 50
	results := make(chan error, many)
	for i := range many {
		go func() {
			data := bytes.Repeat([]byte{byte(i)}, 100_000)
			got, err := ask(at, data)
			if err == nil && got != fmt.Sprintf("%x", sha256.Sum256(data)) {
				err = fmt.Errorf("number %d got %q", i, got)
			}
			results <- err
		}()
	}
	for range many {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// forwardCutOff: an open connection ends with its pod.
func forwardCutOff(e *engine, at, pod string) {
	c, err := net.Dial("tcp", at)
	if err != nil {
		e.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		e.t.Fatal(err)
	}
	io.WriteString(c, "hold")
	held := make([]byte, 4)
	if _, err := io.ReadFull(c, held); err != nil || string(held) != "held" {
		e.t.Fatalf("%q, %v", held, err)
	}
	no := int64(0)
	if err := e.client().CoreV1().Pods("default").Delete(context.Background(), pod, metav1.DeleteOptions{GracePeriodSeconds: &no}); err != nil {
		e.t.Fatal(err)
	}
	if _, err := c.Read(held); err == nil || strings.Contains(err.Error(), "timeout") {
		e.t.Errorf("the connection is still open: %v", err)
	}
}
