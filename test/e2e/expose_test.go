//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/test/proc"
)

// namesItself is a server that answers each request with its pod's name.
const namesItself = `
import http.server, socket
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = socket.gethostname().encode()
        self.send_response(200); self.send_header("Content-Length", str(len(name))); self.end_headers()
        self.wfile.write(name)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 8000), H).serve_forever()
`

// server is a pod that answers on port 8000 with its name.
func server(name string) *corev1.Pod {
	p := shell(name, "")
	p.Labels = map[string]string{"app": "web"}
	c := &p.Spec.Containers[0]
	c.Command = []string{"/usr/bin/python3", "-c", namesItself}
	c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8000}}
	c.ReadinessProbe = &corev1.Probe{
		PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("http")}},
	}
	return p
}

func (e *engine) service(name string, spec corev1.ServiceSpec) *corev1.Service {
	e.t.Helper()
	s, err := e.client().CoreV1().Services("default").Create(context.Background(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

func get(address string) (string, error) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + address)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func (e *engine) exposed() []client.Exposure {
	e.t.Helper()
	var all []client.Exposure
	if err := json.Unmarshal([]byte(e.studio("expose", "list", "-o", "json").stdout), &all); err != nil {
		e.t.Fatal(err)
	}
	return all
}

// TestExpose: a port of the loopback leads to what stands behind a service or a
// pod, whatever happens to the pods, the engine and the command that asked for it.
func TestExpose(t *testing.T) {
	e := newEngine(t)
	e.up()
	ports := func(numbers ...int32) (list []corev1.ServicePort) {
		for _, n := range numbers {
			list = append(list, corev1.ServicePort{Name: fmt.Sprint("p", n), Port: n, TargetPort: intstr.FromInt32(8000)})
		}
		return list
	}
	selector := map[string]string{"app": "web"}
	e.service("web", corev1.ServiceSpec{Selector: selector, Ports: ports(80)})
	e.service("headless", corev1.ServiceSpec{Selector: selector, Ports: ports(8000), ClusterIP: corev1.ClusterIPNone})
	e.service("two", corev1.ServiceSpec{Selector: selector, Ports: ports(81, 82)})
	e.service("outside", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"})

	r := e.studio("expose", "web")
	if !strings.Contains(r.said(), "no ready pod of namespace default has the labels app=web") {
		t.Errorf("without pods: %s", r)
	}
	web := strings.TrimSpace(e.studio("expose", "svc/web:p80", "-q").stdout)
	if host, _, _ := net.SplitHostPort(web); host != "127.0.0.1" {
		t.Fatalf("exposed at %q", web)
	}
	// Who comes too early waits for the first pod that is ready.
	early := make(chan string, 1)
	go func() {
		got, err := get(web)
		early <- fmt.Sprint(got, err)
	}()
	e.start(server("one"))
	if got := <-early; got != "one<nil>" {
		t.Errorf("the client that waited got %s", got)
	}
	e.eventually("the state", func(context.Context) (bool, error) {
		all := e.exposed()
		return len(all) == 2 && all[0].State == client.ExposureOpen && len(all[0].Endpoints) == 1, nil
	}, func() string { return fmt.Sprintf("%+v", e.exposed()) })

	t.Run("pods come and go", func(t *testing.T) {
		e := e.in(t)
		e.start(server("two"))
		seen := map[string]bool{}
		e.eventually("both pods", func(context.Context) (bool, error) {
			got, err := get(web)
			seen[got] = true
			return seen["one"] && seen["two"], err
		})
		if err := e.client().CoreV1().Pods("default").Delete(context.Background(), "one", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		e.eventually("the pod that stays, alone", func(context.Context) (bool, error) {
			for range 6 {
				if got, err := get(web); got != "two" || err != nil {
					return false, err
				}
			}
			return true, nil
		})
	})
	t.Run("a pod and a headless service", func(t *testing.T) {
		e := e.in(t)
		for _, ref := range []string{"pod/two:http", "pod/two", "headless"} {
			at := strings.TrimSpace(e.studio("expose", ref, "-q").stdout)
			if got, err := get(at); got != "two" || err != nil {
				t.Errorf("%s at %s: %q, %v", ref, at, got, err)
			}
		}
	})
	t.Run("a chosen port, and what is refused", func(t *testing.T) { exposeRefusals(e.in(t)) })
	t.Run("nothing but loopback", func(t *testing.T) {
		ls, err := proc.Listeners(e.in(t).processes())
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, l := range ls {
			found = found || l.Address.String() == web
			if !l.Address.Addr().IsLoopback() {
				t.Errorf("%s listens on %s", l.Process, l.Address)
			}
		}
		if !found {
			t.Errorf("%s is not among %v", web, ls)
		}
	})
	t.Run("it is there after a restart", func(t *testing.T) {
		e := e.in(t)
		before := e.exposed()
		e.studio("stop")
		if got, err := get(web); err == nil {
			t.Errorf("without an engine: %q", got)
		}
		e.up()
		if after := e.exposed(); len(after) != len(before) {
			t.Errorf("before %v, after %v", before, after)
		}
		if got, err := get(web); got != "two" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("removing closes what is open", func(t *testing.T) {
		e := e.in(t)
		c, err := net.Dial("tcp", web)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 16)); n == 0 {
			t.Fatal(err)
		}
		e.studio("expose", "rm", "web")
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("the connection is still open")
		}
		if got, err := get(web); err == nil {
			t.Errorf("%s still answers %q", web, got)
		}
	})
}

func exposeRefusals(e *engine) {
	t := e.t
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	for _, c := range []struct {
		args, cause, fix string
	}{
		{"web --port " + port, "is taken by process", "--port"},
		{"two", "several ports: 81, 82", "svc/two:81"},
		{"two:99", `no port "99"; it has 81 (p81), 82 (p82)`, "svc/two:PORT"},
		{"nix", `no service or pod "nix" in namespace default`, "-n"},
		{"svc/one", `no service "one"`, "-n"},
		{"job/x", "neither a service nor a pod", "svc/NAME"},
		{"outside:80", "outside host example.com", "example.com"},
		{"web -n nowhere", `in namespace nowhere`, "-n"},
		{"rm 1", `named "1"`, "studio expose list"},
	} {
		r := e.try(append([]string{"expose"}, strings.Fields(c.args)...)...)
		cause, fix, _ := strings.Cut(r.stderr, "\n  fix: ")
		if r.code != 1 || !strings.Contains(cause, c.cause) || !strings.Contains(fix, c.fix) || r.stdout != "" {
			t.Errorf("%s", r)
		}
	}
	l.Close()
	if at := strings.TrimSpace(e.studio("expose", "two:82", "--port", port, "-q").stdout); at != "127.0.0.1:"+port {
		t.Errorf("--port %s gave %s", port, at)
	} else if got, err := get(at); got != "two" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if r := e.try("expose", "two:81", "--port", port); r.code != 1 || !strings.Contains(r.stderr, "exposed already, for service default/two port 82") {
		t.Error(r)
	}
}
