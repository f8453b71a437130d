// Package services tests the cluster's own Services and its DNS against a real
// API server.
package services

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	clusterdns "github.com/mlstudio/studio/localcluster/node/dns"
	"github.com/mlstudio/studio/test/apiserver"
)

var (
	config *rest.Config
	client kubernetes.Interface
)

func TestMain(m *testing.M) {
	apiserver.Main(m, func(_ context.Context, cfg *rest.Config) (err error) {
		config = cfg
		cfg.WarningHandler = rest.NoWarnings{}
		client, err = kubernetes.NewForConfig(cfg)
		return err
	})
}

func eventually(t *testing.T, what string, ok func() (bool, error)) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(context.Context) (done bool, err error) {
		done, last = ok()
		return done && last == nil, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v (%v)", what, err, last)
	}
}

// Without these objects no pod finds the API server or a name, so they come
// back whatever was done to them.
func TestOwnServicesAreKept(t *testing.T) {
	ctx := t.Context()
	slices, endpoints, services := client.DiscoveryV1().EndpointSlices, client.CoreV1().Endpoints("default"), client.CoreV1().Services("kube-system")
	right := func() (bool, error) {
		api, err := slices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		old, err := endpoints.Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		names, err := services.Get(ctx, "kube-dns", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		servers, err := slices("kube-system").Get(ctx, "kube-dns", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return len(api.Endpoints) == 1 && api.Endpoints[0].Addresses[0] == "192.0.2.1" && *api.Ports[0].Port == 6443 && api.Labels[discoveryv1.LabelServiceName] == "kubernetes" &&
			len(old.Subsets) == 1 && old.Subsets[0].Addresses[0].IP == "192.0.2.1" &&
			strings.HasSuffix(names.Spec.ClusterIP, ".0.10") && len(names.Spec.Ports) == 2 &&
			len(servers.Endpoints) == 1 && len(servers.Ports) == 2 && *servers.Ports[0].Port == 10053, nil
	}
	if ok, err := right(); !ok || err != nil {
		t.Fatalf("at the start: %v %v", ok, err)
	}
	for what, harm := range map[string]func() error{
		"a deleted slice":      func() error { return slices("default").Delete(ctx, "kubernetes", metav1.DeleteOptions{}) },
		"deleted endpoints":    func() error { return endpoints.Delete(ctx, "kubernetes", metav1.DeleteOptions{}) },
		"a deleted Service":    func() error { return services.Delete(ctx, "kube-dns", metav1.DeleteOptions{}) },
		"a slice that changed": func() error { return redirect(ctx, "kube-system", "kube-dns") },
		"another API server":   func() error { return redirect(ctx, "default", "kubernetes") },
	} {
		if err := harm(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		eventually(t, what+" to be put right", right)
	}
}

func redirect(ctx context.Context, namespace, name string) error {
	slices := client.DiscoveryV1().EndpointSlices(namespace)
	s, err := slices.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	s.Endpoints[0].Addresses = []string{"203.0.113.7"}
	_, err = slices.Update(ctx, s, metav1.UpdateOptions{})
	return err
}

// outside is a resolver as the network stack has one; it knows one name.
func outside(t *testing.T, at string) (end func()) {
	t.Helper()
	packets, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if q.Question[0].Name == "pypi.example." {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(203, 0, 113, 80)}}
		} else {
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})
	servers := []*dns.Server{{PacketConn: packets, Handler: answer}, {Listener: streams, Handler: answer}}
	for _, s := range servers {
		go s.ActivateAndServe()
	}
	end = func() {
		for _, s := range servers {
			s.Shutdown()
		}
	}
	t.Cleanup(end)
	return end
}

// free is an address of loopback that nobody listens at.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func kubeconfig(t *testing.T) string {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "a kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs the cluster's DNS and returns how to ask it.
func start(t *testing.T, upstream netip.AddrPort) (ask func(network string, kind uint16, name string) string) {
	t.Helper()
	c := clusterdns.Config{Kubeconfig: kubeconfig(t), Listen: free(t), Upstream: upstream}
	ready, ended := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- clusterdns.Run(ctx, c, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("its end: %v", err)
		}
	})
	return func(network string, kind uint16, name string) string {
		q := new(dns.Msg)
		q.SetQuestion(name, kind)
		r, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(q, c.Listen.String())
		if err != nil {
			return err.Error()
		}
		if len(r.Answer) == 0 {
			return dns.RcodeToString[r.Rcode]
		}
		f := strings.Fields(r.Answer[0].String())
		return strings.Join(f[4:], " ")
	}
}

func TestDNS(t *testing.T) {
	upstream := free(t)
	end := outside(t, upstream.String())
	ask := start(t, upstream)
	for _, network := range []string{"udp", "tcp"} {
		for name, q := range map[string]struct {
			kind uint16
			want string
		}{
			"kubernetes.default.svc.cluster.local.":             {dns.TypeA, "10.96.0.1"},
			"KUBERNETES.Default.svc.cluster.local.":             {dns.TypeA, "10.96.0.1"},
			"_https._tcp.kubernetes.default.svc.cluster.local.": {dns.TypeSRV, "0 100 443 kubernetes.default.svc.cluster.local."},
			"1.0.96.10.in-addr.arpa.":                           {dns.TypePTR, "kubernetes.default.svc.cluster.local."},
			"10-244-0-9.default.pod.cluster.local.":             {dns.TypeA, "10.244.0.9"},
			"kubernetes.default.svc.cluster.local":              {dns.TypeAAAA, "NOERROR"},
			"pypi.example.":                                     {dns.TypeA, "203.0.113.80"},
			"nowhere.example.":                                  {dns.TypeA, "NXDOMAIN"},
		} {
			if got := ask(network, q.kind, dns.Fqdn(name)); got != q.want {
				t.Errorf("%s, %s: %q, want %q", name, network, got, q.want)
			}
		}
	}
	// A name that was asked for before its Service was made is found once it is.
	if got := ask("udp", dns.TypeA, "late.default.svc.cluster.local."); got != "NXDOMAIN" {
		t.Errorf("before: %q", got)
	}
	late := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	late, err := client.CoreV1().Services("default").Create(t.Context(), late, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made := time.Now()
	eventually(t, "the new name", func() (bool, error) {
		return ask("udp", dns.TypeA, "late.default.svc.cluster.local.") == late.Spec.ClusterIP, nil
	})
	if took := time.Since(made); took > 4*time.Second {
		t.Errorf("the new name took %v; it was cached as missing", took)
	}
	// Without a resolver outside a question is refused, not left alone, and its
	// return is noticed with the next question.
	end()
	if got := ask("udp", dns.TypeA, "offline.example."); got != "SERVFAIL" {
		t.Errorf("offline: %q", got)
	}
	if got := ask("udp", dns.TypeA, "kubernetes.default.svc.cluster.local."); got != "10.96.0.1" {
		t.Errorf("the cluster's names while offline: %q", got)
	}
	outside(t, upstream.String())
	if got := ask("udp", dns.TypeA, "online.example."); got != "NXDOMAIN" {
		t.Errorf("online again: %q", got)
	}
}

// The node half may fail for another reason and run it again; a credential that
// does not exist is an error, not a silent server.
func TestDNSStartsAgain(t *testing.T) {
	for range 2 {
		t.Run("", func(t *testing.T) {
			if got := start(t, free(t))("udp", dns.TypeA, "kubernetes.default.svc.cluster.local."); got != "10.96.0.1" {
				t.Errorf("got %q", got)
			}
		})
	}
	err := clusterdns.Run(t.Context(), clusterdns.Config{Kubeconfig: filepath.Join(t.TempDir(), "none"), Listen: free(t), Upstream: free(t)}, func() { t.Error("it is ready") })
	if err == nil || !strings.Contains(err.Error(), os.ErrNotExist.Error()) && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without credentials: %v", err)
	}
}
