//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// told collects the warnings that the API server sends.
type told struct {
	mu   sync.Mutex
	text string
}

func (w *told) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text += text + "\n"
}

// TestNetworkPolicies: each way says that they are not enforced.
func TestNetworkPolicies(t *testing.T) {
	e := newEngine(t)
	e.up()
	if r := e.studio("status"); strings.Contains(r.said(), "NetworkPolicies") {
		t.Errorf("without any: %s", r)
	}
	cfg, w := e.config(), &told{}
	cfg.WarningHandler = w
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "wall"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
	// A policy that warns takes effect a moment after the API server is ready.
	e.eventually("a warning", func(ctx context.Context) (bool, error) {
		if _, err := cs.NetworkingV1().NetworkPolicies("default").Create(ctx, policy, metav1.CreateOptions{}); err != nil {
			return false, err
		}
		if strings.Contains(w.text, "enforces no NetworkPolicy") {
			return true, nil
		}
		return false, cs.NetworkingV1().NetworkPolicies("default").Delete(ctx, "wall", metav1.DeleteOptions{})
	})
	e.eventually("an Event", func(ctx context.Context) (bool, error) {
		list, err := cs.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=wall,reason=NotEnforced"})
		return err == nil && len(list.Items) > 0, err
	})
	if r := e.studio("status"); !strings.Contains(r.said(), "1 NetworkPolicies are not enforced on this node (default/wall)") {
		t.Error(r)
	}
	if r := e.try("doctor"); !strings.Contains(r.said(), "1 NetworkPolicies are not enforced on this node (default/wall)") {
		t.Error(r)
	}
}

// hostAddress is an address of this machine outside of loopback.
func hostAddress(t *testing.T) string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("SKIPPED: this machine has no address outside of loopback")
	return ""
}

// TestNetworkOutbound: a pod reaches the host's network over TCP and UDP, learns
// of a refusal at once, and never reaches the host's loopback.
func TestNetworkOutbound(t *testing.T) {
	e := newEngine(t)
	e.up()
	own := hostAddress(t)
	open, hidden := answering(t, own), answering(t, "127.0.0.1")
	datagrams, err := net.ListenPacket("udp", net.JoinHostPort(own, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	go func() {
		for buffer := make([]byte, 1<<16); ; {
			n, from, err := datagrams.ReadFrom(buffer)
			if err != nil {
				return
			}
			datagrams.WriteTo(buffer[:n], from)
		}
	}()
	script := fmt.Sprintf(`
import socket, time
def tcp(host, port):
    start = time.time()
    try:
        with socket.create_connection((host, port), 30) as s:
            s.sendall(b"hello"); s.shutdown(socket.SHUT_WR)
            return s.makefile().read()
    except OSError as e:
        return type(e).__name__ + ("" if time.time() - start < 5 else " late")
def udp(host, port, size):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(10); s.sendto(b"x" * size, (host, port))
        return len(s.recv(1 << 16))
own, open, udp_port, hidden, api = %q, %d, %d, %d, %d
print("open", tcp(own, open))
print("udp", udp(own, udp_port, 9), udp(own, udp_port, 60000))
print("refused", tcp(own, 1))
for host in "127.0.0.1", "localhost", "0.0.0.0", "192.0.2.54", "192.0.2.53", "10.244.0.1", own:
    print("hidden", tcp(host, hidden), tcp(host, api))
`, own, open, datagrams.LocalAddr().(*net.UDPAddr).Port, hidden, e.apiPort())
	p := shell("outbound", "")
	p.Spec.Containers[0].Command = []string{"/usr/bin/python3", "-c", script}
	want := "open hello\nudp 9 60000\nrefused ConnectionRefusedError\n" + strings.Repeat("hidden ConnectionRefusedError ConnectionRefusedError\n", 7)
	if out := e.output(p); out != want {
		t.Errorf("the pod printed %q, want %q", out, want)
	}
}

func (e *engine) apiPort() int {
	e.t.Helper()
	n, err := e.dir.APIPort()
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

// answering listens and sends back what comes; it returns its port.
func answering(t *testing.T, address string) int {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}
