// Package kubelet runs upstream's kubelet, unmodified, in this process. It
// calls upstream's Run, never the command: that one takes signals for itself.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
	"k8s.io/kubernetes/pkg/util/oom"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/machine"
	"github.com/mlstudio/studio/localcluster/network"
)

// Config is what Run needs.
type Config struct {
	Dir datadir.Dir
	Net network.Network
	// Share of the machine that pods get.
	Share machine.Share
	// Labels of the node.
	Labels map[string]string
}

// Run runs the kubelet until ctx ends. The runtime must serve the CRI already.
func Run(ctx context.Context, c Config) error {
	server, err := settings(c)
	if err != nil {
		return fmt.Errorf("setting up the kubelet: %w", err)
	}
	// Validation and the dependencies below look at the gates.
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(server.KubeletConfiguration.FeatureGates); err != nil {
		return fmt.Errorf("setting up the kubelet: %w", err)
	}
	if err := validation.ValidateKubeletConfiguration(&server.KubeletConfiguration, utilfeature.DefaultFeatureGate); err != nil {
		return fmt.Errorf("setting up the kubelet: %w", err)
	}
	deps, err := app.UnsecuredDependencies(ctx, server, utilfeature.DefaultFeatureGate)
	if err != nil {
		return fmt.Errorf("setting up the kubelet: %w", err)
	}
	// A plain user may not lower the kubelet's own score, and a laptop's owner
	// would not want it to outlive his browser.
	deps.OOMAdjuster = oom.NewFakeOOMAdjuster()
	if err := addClients(ctx, c, &server.KubeletConfiguration, deps); err != nil {
		return fmt.Errorf("setting up the kubelet: %w", err)
	}
	err = app.Run(ctx, server, deps, utilfeature.DefaultFeatureGate)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("running the kubelet: %w", err)
}

func settings(c Config) (*options.KubeletServer, error) {
	flags := options.NewKubeletFlags()
	flags.KubeConfig = c.Dir.NodeKubeconfig()
	flags.RootDirectory = c.Dir.Kubelet()
	flags.CertDirectory = c.Dir.NodePKI()
	flags.HostnameOverride = network.NodeName
	flags.NodeIP = c.Net.Gateway().String()
	flags.NodeLabels = c.Labels
	kc, err := options.NewKubeletConfiguration()
	if err != nil {
		return nil, err
	}
	configure(kc, c)
	return &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *kc}, nil
}

func configure(kc *kubeletconfig.KubeletConfiguration, c Config) {
	seconds := func(n int) metav1.Duration { return metav1.Duration{Duration: time.Duration(n) * time.Second} }
	kc.ContainerRuntimeEndpoint = "unix://" + c.Dir.CRISocket()
	kc.FeatureGates = map[string]bool{"EventedPLEG": true, "PodAndContainerStatsFromCRI": true}

	kc.Address = c.Net.Gateway().String()
	kc.ReadOnlyPort = 0
	kc.HealthzPort = 0
	kc.TLSCertFile = filepath.Join(c.Dir.NodePKI(), "kubelet.crt")
	kc.TLSPrivateKeyFile = filepath.Join(c.Dir.NodePKI(), "kubelet.key")
	kc.Authentication.Anonymous.Enabled = false
	kc.Authentication.Webhook.Enabled = true
	kc.Authentication.X509.ClientCAFile = filepath.Join(c.Dir.NodePKI(), "ca.crt")
	kc.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook
	kc.EnableProfilingHandler = false
	// The API server's certificate for the kubelet is not rotated by request:
	// both are issued anew at each start of the engine.
	kc.RotateCertificates = false
	kc.StaticPodPath = ""

	// What a laptop is: cgroup v1 or no delegation at all, swap, a disk that is
	// 90 % full. Absolute thresholds, since shares of its disk mean nothing.
	kc.FailCgroupV1 = false
	kc.FailSwapOn = false
	kc.CgroupsPerQOS = false
	kc.EnforceNodeAllocatable = nil
	// What the desktop keeps; the pods' control group holds it where there is one.
	kc.SystemReserved = map[string]string{
		"cpu":    strconv.FormatInt(c.Share.ReservedCPU, 10) + "m",
		"memory": strconv.FormatInt(c.Share.ReservedMemory, 10),
	}
	kc.EvictionHard = map[string]string{"memory.available": "100Mi", "nodefs.available": "200Mi", "imagefs.available": "200Mi"}
	kc.ImageGCHighThresholdPercent, kc.ImageGCLowThresholdPercent = 100, 99
	kc.SerializeImagePulls = false
	kc.ProtectKernelDefaults = false
	kc.MakeIPTablesUtilChains = false
	kc.OOMScoreAdj = ownOOMScore()

	// Few and long heartbeats: the node is this machine. Requests are local.
	kc.NodeLeaseDurationSeconds = 240
	kc.NodeStatusReportFrequency = seconds(300)
	// Nothing is sent that often: it is how soon the kubelet looks again at a
	// node that was not quite ready when it registered, 10 s by default.
	kc.NodeStatusUpdateFrequency = seconds(3)
	kc.KubeAPIQPS, kc.KubeAPIBurst = 500, 1000
	kc.EventRecordQPS, kc.EventBurst = 500, 1000
	kc.RegistryPullQPS = 0
	kc.MaxPods = 110
	kc.PodsPerCore = 0
	kc.PodLogsDir = "/var/log/pods"

	kc.ClusterDomain = "cluster.local"
	kc.ClusterDNS = []string{c.Net.DNS().String()}
	kc.ResolverConfig = "/etc/resolv.conf"
	kc.ShutdownGracePeriod, kc.ShutdownGracePeriodCriticalPods = metav1.Duration{}, metav1.Duration{}
}

// ownOOMScore is the score that this process has: a plain user may not lower
// it, and the kubelet tries again every few minutes.
func ownOOMScore() int32 {
	raw, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	return int32(score)
}
