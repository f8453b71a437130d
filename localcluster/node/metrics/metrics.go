// Package metrics serves the API metrics.k8s.io, which `kubectl top` and
// autoscalers read: what pods and the node use, read from the container runtime
// when somebody asks. The API server forwards requests to it by an APIService,
// after its own authentication and authorization, and is its only client.
package metrics

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
	metricsv1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/mlstudio/studio/localcluster/hostrt/pace"
	"github.com/mlstudio/studio/localcluster/hostrt/procs"
	"github.com/mlstudio/studio/localcluster/network"
)

// proxyName is the name that the API server's certificate for this has.
const proxyName = "front-proxy-client"

// Files in the node's folder of certificates.
const (
	CertName    = "metrics"
	ProxyCAName = "front-proxy-ca.crt"
)

// Runtime is what is asked.
type Runtime interface {
	ListPodSandboxStats(context.Context, *rt.ListPodSandboxStatsRequest) (*rt.ListPodSandboxStatsResponse, error)
}

// Config is what Serve needs.
type Config struct {
	Runtime Runtime
	// Address to listen on.
	Address string
	// PKI is the folder of the certificates.
	PKI string
	// Labels of the node.
	Labels map[string]string
	Log    *slog.Logger
}

type server struct {
	Config
	samples pace.Samples
	// began is when the first reading of the whole machine was taken, and that reading.
	began time.Time
	first uint64
}

// Serve serves until ctx ends.
func Serve(ctx context.Context, c Config) error {
	s := &server{Config: c, began: time.Now()}
	var err error
	if s.first, err = machineCPU(); err != nil {
		return err
	}
	cfg, err := s.tls()
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	h := &http.Server{Addr: c.Address, Handler: s.routes(), TLSConfig: cfg, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	if err := h.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics at %s: %w", c.Address, err)
	}
	return nil
}

// tls lets in who has a certificate of the API server's proxy.
func (s *server) tls() (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(filepath.Join(s.PKI, CertName+".crt"), filepath.Join(s.PKI, CertName+".key"))
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(s.PKI, ProxyCAName))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate", ProxyCAName)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		VerifyConnection: func(st tls.ConnectionState) error {
			if name := st.PeerCertificates[0].Subject.CommonName; name != proxyName {
				return fmt.Errorf("%q is not the API server", name)
			}
			return nil
		},
	}, nil
}

// pods returns what all pods use.
func (s *server) pods(ctx context.Context) ([]metricsv1.PodMetrics, error) {
	res, err := s.Runtime.ListPodSandboxStats(ctx, &rt.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, err
	}
	all := make([]metricsv1.PodMetrics, 0, len(res.Stats))
	for _, st := range res.Stats {
		m := st.GetAttributes().GetMetadata()
		pod := metricsv1.PodMetrics{
			ObjectMeta: metav1.ObjectMeta{Name: m.GetName(), Namespace: m.GetNamespace(), Labels: ownLabels(st.GetAttributes().GetLabels())},
			Window:     metav1.Duration{Duration: pace.Window},
		}
		for _, c := range st.GetLinux().GetContainers() {
			at := time.Unix(0, c.GetCpu().GetTimestamp())
			pod.Timestamp = metav1.NewTime(at)
			pod.Containers = append(pod.Containers, metricsv1.ContainerMetrics{
				Name:  c.GetAttributes().GetMetadata().GetName(),
				Usage: usage(c.GetCpu().GetUsageNanoCores().GetValue(), c.GetMemory().GetWorkingSetBytes().GetValue()),
			})
		}
		// As with upstream's server, what does not run has no metrics.
		if len(pod.Containers) > 0 {
			pod.CreationTimestamp = pod.Timestamp
			all = append(all, pod)
		}
	}
	return all, nil
}

// ownLabels are a pod's without those that the kubelet adds for the runtime.
func ownLabels(labels map[string]string) map[string]string {
	own := maps.Clone(labels)
	maps.DeleteFunc(own, func(key, _ string) bool { return strings.HasPrefix(key, "io.kubernetes.pod.") })
	return own
}

func usage(nanoCores, bytes uint64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(nanoCores), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(bytes), resource.BinarySI),
	}
}

// nodes returns what the machine uses, pods and all else.
func (s *server) nodes(context.Context) ([]metricsv1.NodeMetrics, error) {
	cpu, err := machineCPU()
	if err != nil {
		return nil, err
	}
	memory, err := machineMemory()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	labels := maps.Clone(s.Labels)
	labels[corev1.LabelHostname], labels[corev1.LabelOSStable] = network.NodeName, "linux"
	return []metricsv1.NodeMetrics{{
		ObjectMeta: metav1.ObjectMeta{Name: network.NodeName, Labels: labels, CreationTimestamp: metav1.NewTime(now)},
		Timestamp:  metav1.NewTime(now), Window: metav1.Duration{Duration: pace.Window},
		Usage: usage(s.samples.Of("", s.began, now, cpu-min(cpu, s.first)), memory),
	}}, nil
}

// machineCPU is the time in nanoseconds that all processors were busy since the boot.
func machineCPU() (uint64, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading what the machine uses: %w", err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	// cpu user nice system idle iowait irq softirq steal ...
	var busy uint64
	for i, text := range strings.Fields(line) {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil && i != 4 && i != 5 && i < 8 {
			busy += n
		}
	}
	return busy * uint64(time.Second/procs.TicksPerSecond), nil
}

// machineMemory is what is in use and could not be freed, in bytes.
func machineMemory() (uint64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("reading what the machine uses: %w", err)
	}
	defer f.Close()
	kib := map[string]uint64{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var name string
		var n uint64
		if _, err := fmt.Sscan(sc.Text(), &name, &n); err == nil {
			kib[name] = n
		}
	}
	return (kib["MemTotal:"] - min(kib["MemTotal:"], kib["MemAvailable:"])) << 10, nil
}
