package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/mlstudio/studio/test/bench/netend"
)

const (
	netRounds = 7
	// Each stream runs for a second: long beside its start, short beside what
	// neighbours on the machine do.
	netSeconds = "1"
	netEchoes  = "3000"
	netPort    = "9000"
)

// netFigures are the measurements: a client in a pod, and where its server is.
// The peer's client and server are two host processes on loopback.
var netFigures = []struct {
	name, verb, amount, to string
	limit                  limit
}{
	{"net.throughput", "send", netSeconds, "pod", limit{least: 0.5}},
	{"net.outbound", "send", netSeconds, "host", limit{least: 0.05}},
	{"net.inbound", "receive", netSeconds, "host", limit{}},
	{"net.service", "send", netSeconds, "service", limit{least: 0.4}},
	{"net.latency", "echo", netEchoes, "service", limit{ratio: 2}},
}

// benchNet: the pods' network beside the kernel's loopback, turn by turn in one run.
func benchNet(ctx context.Context, b *bench) error {
	s, end, err := b.fresh(ctx)
	if err != nil {
		return err
	}
	defer end()
	c, err := client(s.dir)
	if err != nil {
		return err
	}
	n := &netBench{client: c}
	peer, stop, err := hostEnd(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer stop()
	targets, stop, err := n.servers(ctx)
	if err != nil {
		return err
	}
	defer stop()
	for _, f := range netFigures {
		var ours, peers []float64
		for range netRounds {
			our, err := n.inPod(ctx, f.verb, targets[f.to], f.amount)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			his, err := onHost(ctx, f.verb, peer, f.amount)
			if err != nil {
				return fmt.Errorf("%s, the peer: %w", f.name, err)
			}
			ours, peers = append(ours, our), append(peers, his)
		}
		unit := "MB/s"
		if f.verb == "echo" {
			unit = "us"
		}
		if err := b.report(row{Bench: f.name, Studio: middle(ours), Peer: middle(peers), Unit: unit, N: netRounds}, f.limit); err != nil {
			return err
		}
	}
	return nil
}

func middle(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// figure is a result in the row's unit.
func figure(raw []byte) (float64, error) {
	var r netend.Result
	if err := json.Unmarshal(raw, &r); err != nil {
		return 0, fmt.Errorf("reading a client's result %q: %w", raw, err)
	}
	if r.P50 > 0 {
		return r.P50, nil
	}
	return r.BytesPerSecond / 1e6, nil
}

// hostEnd starts a server on this machine and returns where it listens.
func hostEnd(ctx context.Context, address string) (at string, stop func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, exe, "end", "serve", address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("starting a server at %s: %w", address, err)
	}
	return strings.TrimSpace(line), stop, nil
}

func onHost(ctx context.Context, verb, address, amount string) (float64, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, exe, "end", verb, address, amount).Output()
	if err != nil {
		return 0, err
	}
	return figure(out)
}

// netBench runs the ends that are in pods.
type netBench struct {
	client kubernetes.Interface
	pods   int
}

// servers are one in a pod, with a service before it, and one on the host, on an
// address that pods can reach.
func (n *netBench) servers(ctx context.Context) (targets map[string]string, stop func(), err error) {
	p := endPod("server", "serve", "0.0.0.0:"+netPort)
	p.Labels = map[string]string{"app": "server"}
	if err := n.create(ctx, p); err != nil {
		return nil, nil, err
	}
	// It has printed where it listens once it does.
	if _, err := n.log(ctx, "server"); err != nil {
		return nil, nil, err
	}
	// The kubelet tells of its address a moment later.
	for p.Status.PodIP == "" {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, nil, err
		}
		if p, err = n.client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "server", metav1.GetOptions{}); err != nil {
			return nil, nil, err
		}
	}
	svc, err := n.client.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "server"},
		Spec:       corev1.ServiceSpec{Selector: p.Labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.Parse(netPort)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, nil, err
	}
	own, err := ownAddress()
	if err != nil {
		return nil, nil, err
	}
	host, stop, err := hostEnd(ctx, net.JoinHostPort(own, "0"))
	if err != nil {
		return nil, nil, err
	}
	return map[string]string{"pod": net.JoinHostPort(p.Status.PodIP, netPort), "service": net.JoinHostPort(svc.Spec.ClusterIP, "80"), "host": host}, stop, nil
}

// ownAddress is one of this machine outside of loopback.
func ownAddress() (string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("this machine has no IPv4 address outside of loopback that a pod could reach")
}

// inPod runs a client in a pod of its own.
func (n *netBench) inPod(ctx context.Context, args ...string) (float64, error) {
	n.pods++
	name := fmt.Sprintf("client-%d", n.pods)
	if err := n.create(ctx, endPod(name, args...)); err != nil {
		return 0, err
	}
	line, err := n.log(ctx, name)
	if err != nil {
		return 0, err
	}
	return figure(line)
}

// create tries again while the default service account is still being made.
func (n *netBench) create(ctx context.Context, p *corev1.Pod) error {
	for end := time.Now().Add(time.Minute); ; {
		_, err := n.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, p, metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) || time.Now().After(end) {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// log waits for the first line that a pod prints.
func (n *netBench) log(ctx context.Context, pod string) ([]byte, error) {
	pods := n.client.CoreV1().Pods(metav1.NamespaceDefault)
	for end := time.Now().Add(time.Minute); ; {
		var line []byte
		r, err := pods.GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
		if err == nil {
			line, err = bufio.NewReader(r).ReadBytes('\n')
			r.Close()
		}
		if err == nil {
			return bytes.TrimSpace(line), nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("waiting for what pod %s prints: %w", pod, err)
		}
		// Logs have no event for their beginning.
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// programs is where the node shows the folder of its own programs; this one
// lies beside them.
const programs = "/run/studio/bin"

// endPod runs this program as one end.
func endPod(name string, args ...string) *corev1.Pod {
	const own = "/bench"
	p := truePod(name, false)
	file := corev1.HostPathFile
	p.Spec.Volumes = []corev1.Volume{{Name: "bench", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: programs + "/bench", Type: &file}}}}
	c := &p.Spec.Containers[0]
	c.Command = append([]string{own, "end"}, args...)
	c.VolumeMounts = []corev1.VolumeMount{{Name: "bench", MountPath: own, ReadOnly: true}}
	return p
}
