package metrics

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/mlstudio/studio/localcluster/controlplane/pki"
)

// stats are what a runtime says of two pods, one of which has no container.
type stats struct{}

func (stats) ListPodSandboxStats(context.Context, *rt.ListPodSandboxStatsRequest) (*rt.ListPodSandboxStatsResponse, error) {
	now := time.Now().UnixNano()
	pod := func(namespace, name string, containers ...*rt.ContainerStats) *rt.PodSandboxStats {
		return &rt.PodSandboxStats{
			Attributes: &rt.PodSandboxAttributes{
				Metadata: &rt.PodSandboxMetadata{Namespace: namespace, Name: name},
				Labels:   map[string]string{"app": name, "io.kubernetes.pod.name": name},
			},
			Linux: &rt.LinuxPodSandboxStats{Containers: containers},
		}
	}
	return &rt.ListPodSandboxStatsResponse{Stats: []*rt.PodSandboxStats{
		pod("default", "one", &rt.ContainerStats{
			Attributes: &rt.ContainerAttributes{Metadata: &rt.ContainerMetadata{Name: "main"}},
			Cpu:        &rt.CpuUsage{Timestamp: now, UsageNanoCores: &rt.UInt64Value{Value: 250e6}},
			Memory:     &rt.MemoryUsage{Timestamp: now, WorkingSetBytes: &rt.UInt64Value{Value: 64 << 20}},
		}),
		pod("default", "none"),
	}}, nil
}

// serve runs the server and returns its address and the two authorities.
func serve(t *testing.T) (address string, ca, proxy *pki.Authority) {
	t.Helper()
	dir := t.TempDir()
	for name, at := range map[string]**pki.Authority{"ca": &ca, "proxy": &proxy} {
		var err error
		if *at, err = pki.LoadOrCreateAuthority(dir, name, "test-"+name); err != nil {
			t.Fatal(err)
		}
	}
	own, err := ca.Issue(pki.Request{CommonName: Service, DNSNames: []string{HostName}})
	if err == nil {
		err = own.Write(dir, CertName)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, ProxyCAName), proxy.PEM, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, Config{Runtime: stats{}, Address: address, PKI: dir, Labels: map[string]string{"kind": "laptop"}, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address, ca, proxy
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not listen")
		}
	}
}

func client(t *testing.T, address string, ca, by *pki.Authority, name string) metricsclient.Interface {
	t.Helper()
	leaf, err := by.Issue(pki.Request{CommonName: name})
	if err != nil {
		t.Fatal(err)
	}
	c, err := metricsclient.NewForConfig(&rest.Config{Host: "https://" + address, TLSClientConfig: rest.TLSClientConfig{
		ServerName: HostName, CAData: ca.PEM, CertData: leaf.Cert, KeyData: leaf.Key,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServe(t *testing.T) {
	address, ca, proxy := serve(t)
	c := client(t, address, ca, proxy, proxyName)
	ctx := t.Context()
	v1 := c.MetricsV1beta1()

	list, err := v1.PodMetricses("default").List(ctx, metav1.ListOptions{LabelSelector: "app=one"})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	pod := list.Items[0]
	if got := pod.Containers[0].Usage; got.Cpu().String() != "250m" || got.Memory().String() != "64Mi" {
		t.Errorf("it uses %s and %s", got.Cpu(), got.Memory())
	}
	if pod.Labels["app"] != "one" || len(pod.Labels) != 1 {
		t.Errorf("its labels are %v", pod.Labels)
	}
	if list, err = v1.PodMetricses("").List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("all that run: %v, %v", list, err)
	}
	for _, none := range []metav1.ListOptions{{LabelSelector: "app=two"}, {FieldSelector: "metadata.name=two"}} {
		if list, err := v1.PodMetricses("default").List(ctx, none); err != nil || len(list.Items) != 0 {
			t.Errorf("%v: %v, %v", none, list, err)
		}
	}
	if list, err := v1.PodMetricses("other").List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("another namespace: %v, %v", list, err)
	}
	if _, err := v1.PodMetricses("default").Get(ctx, "one", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := v1.PodMetricses("default").Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that does not run: %v", err)
	}
	if _, err := v1.PodMetricses("default").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=x"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field that it has not: %v", err)
	}
	nodes, err := v1.NodeMetricses().List(ctx, metav1.ListOptions{LabelSelector: "kind=laptop"})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("%v, %v", nodes, err)
	}
	if nodes.Items[0].Usage.Memory().Value() < 10<<20 {
		t.Errorf("the machine uses %s", nodes.Items[0].Usage.Memory())
	}
	resources, err := c.Discovery().ServerResourcesForGroupVersion(group.String())
	if err != nil || len(resources.APIResources) != 2 {
		t.Errorf("discovery: %v, %v", resources, err)
	}
}

// Nobody but the API server's proxy may ask: a pod can reach the address, too.
func TestRefusesOthers(t *testing.T) {
	address, ca, proxy := serve(t)
	for what, c := range map[string]metricsclient.Interface{
		"a certificate of the cluster":       client(t, address, ca, ca, proxyName),
		"another certificate of the proxy's": client(t, address, ca, proxy, "somebody"),
	} {
		// Refused before it is answered: as a word of TLS, or as a connection that was closed on the request.
		_, err := c.MetricsV1beta1().NodeMetricses().List(t.Context(), metav1.ListOptions{})
		var answer apierrors.APIStatus
		if err == nil || errors.As(err, &answer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	res, err := h.Get("https://" + address + root + "/nodes")
	if err == nil {
		var body any
		_ = json.NewDecoder(res.Body).Decode(&body)
		t.Errorf("without a certificate: %v", body)
	}
}
