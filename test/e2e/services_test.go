//go:build e2e

package e2e

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/remotecommand"
)

//go:embed probe.py
var probe string

// nodeIP is the node's address inside its network.
func (e *engine) nodeIP() string {
	e.t.Helper()
	node, err := e.client().CoreV1().Nodes().Get(context.Background(), "studio", metav1.GetOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	e.t.Fatalf("the node has no address: %v", node.Status.Addresses)
	return ""
}

// python is a pod that runs probe.py.
func python(name string, args ...string) *corev1.Pod {
	p := shell(name, "")
	p.Spec.Containers[0].Command = append([]string{"/usr/bin/python3", "-c", probe}, args...)
	return p
}

// probeServer is a pod that says by HTTP and UDP on a port who it is and who asked.
func probeServer(name string, port int32, labels map[string]string) *corev1.Pod {
	p := python(name, "serve", fmt.Sprint(port))
	p.Labels = labels
	p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(port)}},
		PeriodSeconds: 1,
	}
	return p
}

// ready starts pods and returns their addresses.
func (e *engine) ready(pods ...*corev1.Pod) []string {
	e.t.Helper()
	for _, p := range pods {
		e.start(p)
	}
	var ips []string
	for _, p := range pods {
		last := e.await(p.Name, "ready", func(p *corev1.Pod) bool {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					return true
				}
			}
			return false
		})
		ips = append(ips, last.Status.PodIP)
	}
	return ips
}

func ports(target int32) []corev1.ServicePort {
	return []corev1.ServicePort{
		{Name: "http", Port: 80, TargetPort: intstr.FromInt32(target)},
		{Name: "datagrams", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(target)},
	}
}

// nodePort is the port of a Service at the node's address.
func nodePort(s *corev1.Service, protocol corev1.Protocol) int32 {
	for _, p := range s.Spec.Ports {
		if p.Protocol == protocol {
			return p.NodePort
		}
	}
	return 0
}

var web = map[string]string{"app": "web"}

func TestServices(t *testing.T) {
	e := newEngine(t)
	e.up()
	node := e.nodeIP()
	a, b := probeServer("web-a", 8080, web), probeServer("web-b", 8080, web)
	for _, p := range []*corev1.Pod{a, b} {
		p.Spec.Hostname, p.Spec.Subdomain = p.Name, "sub"
	}
	ips := e.ready(a, b)
	web := e.service("web", corev1.ServiceSpec{Selector: web, Ports: ports(8080)})
	open := e.service("open", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: web.Spec.Selector, Ports: ports(8080)})
	local := e.service("local", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: web.Spec.Selector, Ports: ports(8080),
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, InternalTrafficPolicy: new(corev1.ServiceInternalTrafficPolicyLocal)})
	e.service("sticky", corev1.ServiceSpec{Selector: web.Spec.Selector, Ports: ports(8080), SessionAffinity: corev1.ServiceAffinityClientIP})
	e.service("sub", corev1.ServiceSpec{Selector: web.Spec.Selector, Ports: ports(8080), ClusterIP: corev1.ClusterIPNone})
	e.service("empty", corev1.ServiceSpec{Selector: map[string]string{"app": "none"}, Ports: ports(8080)})
	e.service("alias", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.default.svc.cluster.local"})

	t.Run("a pod reaches Services of every kind", func(t *testing.T) {
		e := e.in(t)
		p := python("client",
			"many http://web/", "^web-a web-b$",
			"many http://"+web.Spec.ClusterIP+"/", "^web-a web-b$",
			"many http://web.default.svc.cluster.local/", "^web-a web-b$",
			"many http://alias/", "^web-a web-b$",
			"many http://sub:8080/", "^web-a|web-b",
			"many http://sticky/", "^web-[ab]$",
			"udp web 80", "^web-[ab] ",
			fmt.Sprintf("many http://%s:%d/", node, nodePort(open, corev1.ProtocolTCP)), "^web-a web-b$",
			fmt.Sprintf("udp %s %d", node, nodePort(open, corev1.ProtocolUDP)), "^web-[ab] ",
			fmt.Sprintf("many http://%s:%d/", node, nodePort(local, corev1.ProtocolTCP)), "^web-a web-b$",
			"many http://local/", "^web-a web-b$",
			"get http://empty/", "refused",
		)
		e.output(p)
	})
	t.Run("a Service shows its servers who asks", func(t *testing.T) {
		e := e.in(t)
		p := python("who", "get http://web/", `^web-[ab] \d`)
		p.Spec.Containers[0].Command = []string{"/bin/sh", "-c", `exec /usr/bin/python3 -c "$0" "get http://web/" "^web-[ab] $IP\$"`, probe}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
		e.output(p)
	})
	t.Run("names", func(t *testing.T) { names(t, e.in(t), web.Spec.ClusterIP, ips) })
	t.Run("a pod reaches itself through its Service", func(t *testing.T) {
		e := e.in(t)
		p := probeServer("self", 8081, map[string]string{"app": "self"})
		ip := e.ready(p)[0]
		s := e.service("self", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: p.Labels, Ports: ports(8081)})
		for _, question := range []string{
			"get http://" + s.Spec.ClusterIP + "/", "udp " + s.Spec.ClusterIP + " 80",
			fmt.Sprintf("get http://%s:%d/", node, nodePort(s, corev1.ProtocolTCP)), "get http://" + ip + ":8081/",
		} {
			e.inside("self", question, "^self ")
		}
	})
	t.Run("host ports", func(t *testing.T) { hostPorts(t, e.in(t), node) })
	t.Run("a pod in the node's network", func(t *testing.T) { hostNetwork(t, e.in(t), node) })
	t.Run("the API server at kubernetes.default", func(t *testing.T) {
		e := e.in(t)
		p := python("api",
			"get https://kubernetes.default/api", `"APIVersions"`,
			"get https://kubernetes.default.svc.cluster.local/api", `"APIVersions"`,
			"get https://kubernetes/api", `"APIVersions"`)
		p.Spec.AutomountServiceAccountToken = nil
		e.output(p)
	})
	t.Run("the endpoints of the API server come back", func(t *testing.T) {
		e := e.in(t)
		ctx := context.Background()
		before, err := e.client().DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.client().DiscoveryV1().EndpointSlices("default").Delete(ctx, "kubernetes", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		e.eventually("the slice to be made again", func(ctx context.Context) (bool, error) {
			now, err := e.client().DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
			return err == nil && now.UID != before.UID && now.Endpoints[0].Addresses[0] == before.Endpoints[0].Addresses[0], err
		})
	})
	t.Run("a Service that is deleted answers no more", func(t *testing.T) {
		e := e.in(t)
		port := nodePort(open, corev1.ProtocolTCP)
		if err := e.client().CoreV1().Services("default").Delete(context.Background(), "open", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		e.output(python("gone", fmt.Sprintf("get http://%s:%d/", node, port), "refused", "dns A open.default.svc.cluster.local", "NXDOMAIN"))
	})
	t.Run("a UDP sender finds the next server of a Service", func(t *testing.T) { nextServer(t, e.in(t)) })
	t.Run("connections outlive the node half", func(t *testing.T) { survive(t, e.in(t), web.Spec.ClusterIP) })
}

func names(t *testing.T, e *engine, clusterIP string, ips []string) {
	reverse := func(ip string) string {
		f := strings.Split(ip, ".")
		return fmt.Sprintf("%s.%s.%s.%s.in-addr.arpa", f[3], f[2], f[1], f[0])
	}
	dashed := strings.ReplaceAll(ips[0], ".", "-")
	questions := []string{
		"host web", "^" + clusterIP + "$",
		"host web.default", "^" + clusterIP + "$",
		"host web.default.svc", "^" + clusterIP + "$",
		"dns A web.default.svc.cluster.local", "^A " + clusterIP + "$",
		"dns PTR " + reverse(clusterIP), "^PTR web.default.svc.cluster.local$",
		"dns PTR " + reverse(ips[0]), `PTR web-a.sub.default.svc.cluster.local`,
		"dns A web-a.sub.default.svc.cluster.local", "^A " + ips[0] + "$",
		"dns A " + dashed + ".default.pod.cluster.local", "^A " + ips[0] + "$",
		"dns SRV _http._tcp.web.default.svc.cluster.local", "^SRV 80 web.default.svc.cluster.local$",
		"dns SRV _http._tcp.sub.default.svc.cluster.local", "SRV 8080 web-a.sub.default.svc.cluster.local, SRV 8080 web-b.sub.default.svc.cluster.local",
		"dns CNAME alias.default.svc.cluster.local", "^CNAME web.default.svc.cluster.local$",
		"dns A nothing.default.svc.cluster.local", "^NXDOMAIN$",
		"file /etc/resolv.conf", "search default.svc.cluster.local svc.cluster.local cluster.local",
		"file /etc/hosts", `203.0.113.9\s+build.example\s+cache.example`,
		"host cache.example", "^203.0.113.9$",
	}
	both := []string{"A " + ips[0], "A " + ips[1]}
	if both[0] > both[1] {
		both[0], both[1] = both[1], both[0]
	}
	questions = append(questions, "dns A sub.default.svc.cluster.local", "^"+strings.Join(both, ", ")+"$")
	p := python("names", questions...)
	p.Spec.HostAliases = []corev1.HostAlias{{IP: "203.0.113.9", Hostnames: []string{"build.example", "cache.example"}}}
	e.output(p)

	own := python("own-dns", "file /etc/resolv.conf", `nameserver 198.51.100.4\nsearch example.test\noptions ndots:2 edns0`)
	own.Spec.DNSPolicy = corev1.DNSNone
	own.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"198.51.100.4"}, Searches: []string{"example.test"},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}, {Name: "edns0"}}}
	e.output(own)
	nodes := python("node-dns", "file /etc/resolv.conf", `^nameserver 192.0.2.53\n`)
	nodes.Spec.DNSPolicy = corev1.DNSDefault
	e.output(nodes)
	// A TCP question takes the second port of the Service.
	e.output(shellPython("tcp-dns", `print(dns("A", "web.default.svc.cluster.local", "tcp"))`, "A "+clusterIP))
}

// shellPython runs an expression of probe.py that a question cannot say.
func shellPython(name, line, want string) *corev1.Pod {
	return shell(name, fmt.Sprintf(`out=$(/usr/bin/python3 -c "$(cat <<'END'
%s
%s
END
)"); test "$out" = "%s" || { echo "got $out"; exit 1; }`, strings.TrimSuffix(probe, "main()\n"), line, want))
}

func hostPorts(t *testing.T, e *engine, node string) {
	p := probeServer("opened", 8082, nil)
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{
		{ContainerPort: 8082, HostPort: 18082}, {ContainerPort: 8082, HostPort: 18082, Protocol: corev1.ProtocolUDP},
		{ContainerPort: 8082, HostPort: 18083, HostIP: "127.0.0.1"},
	}
	e.ready(p)
	at := "http://" + node + ":18082/"
	e.output(python("opens", "get "+at, "^opened ", "udp "+node+" 18082", "^opened ", "get http://"+node+":18083/", "refused"))
	e.inside("opened", "get "+at, "^opened ")
	e.deletePod("opened")
	e.output(python("closed", "get "+at, "refused", "udp "+node+" 18082", "Error"))
}

func hostNetwork(t *testing.T, e *engine, node string) {
	p := probeServer("in-node", 18084, nil)
	p.Spec.HostNetwork, p.Spec.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet
	if ip := e.ready(p)[0]; ip != node {
		t.Errorf("its address is %s, and the node's %s", ip, node)
	}
	e.output(python("to-node", "get http://"+node+":18084/", "^studio "))
	for question, want := range map[string]string{
		"many http://web/": "^web-a web-b$", "udp web 80": "^web-[ab] " + node + "$", "get http://web-a.sub:8080/": "^web-a " + node + "$",
		"get https://kubernetes.default/api": "credentials|token|No such file",
	} {
		e.inside("in-node", question, want)
	}
}

// nextServer replaces the one server behind a socket that never pauses: the
// kernel would go on sending to the old one.
func nextServer(t *testing.T, e *engine) {
	labels := map[string]string{"app": "datagrams"}
	s := e.service("datagrams", corev1.ServiceSpec{Selector: labels, Ports: ports(8085)})
	e.ready(probeServer("udp-a", 8085, labels))
	p := python("sender", "switch "+s.Spec.ClusterIP+" 80", "^udp-a udp-b$")
	e.start(p)
	e.await(p.Name, "running", running)
	e.eventually("the first server's answer", func(context.Context) (bool, error) { return strings.Contains(e.logs(p.Name), "heard udp-a"), nil })
	e.deletePod("udp-a")
	e.ready(probeServer("udp-b", 8085, labels))
	if last := e.await(p.Name, "ended", ended); last.Status.Phase != corev1.PodSucceeded {
		t.Fatalf("%s\n%s", describe(last), e.logs(p.Name))
	}
}

// survive kills the node half under a pod that uses a Service all the time.
func survive(t *testing.T, e *engine, clusterIP string) {
	p := python("holds", "hold "+clusterIP+" 80 8", "^held with")
	e.start(p)
	e.await(p.Name, "running", running)
	e.eventually("the connection", func(context.Context) (bool, error) { return strings.Contains(e.logs(p.Name), "holding"), nil })
	e.kill("node")
	if last := e.await(p.Name, "ended", ended); last.Status.Phase != corev1.PodSucceeded {
		t.Fatalf("%s\n%s", describe(last), e.logs(p.Name))
	}
	// Names are answered by the new one, and a new Service is carried by it.
	e.up()
	e.service("later", corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: ports(8080)})
	e.output(python("after", "many http://later/", "^web-a web-b$"))
}

// inside asks a question in a pod that runs.
func (e *engine) inside(pod, question, want string) {
	e.t.Helper()
	out, err := e.exec(pod, "/usr/bin/python3", "-c", probe, question, want)
	if err != nil {
		e.t.Errorf("in pod %s: %v\n%s", pod, err, out)
	}
}

func (e *engine) deletePod(name string) {
	e.t.Helper()
	pods := e.client().CoreV1().Pods("default")
	if err := pods.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		e.t.Fatal(err)
	}
	e.eventually("the end of pod "+name, func(ctx context.Context) (bool, error) {
		_, err := pods.Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

// exec runs a command in a pod's container and returns what it printed.
func (e *engine) exec(pod string, command ...string) (string, error) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out bytes.Buffer
	err := e.remote("websocket", pod, "exec", &corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}).
		StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &out})
	return out.String(), err
}
