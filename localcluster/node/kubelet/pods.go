package kubelet

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	podconfig "k8s.io/kubernetes/pkg/kubelet/config"
	kubelettypes "k8s.io/kubernetes/pkg/kubelet/types"
	"k8s.io/kubernetes/pkg/kubelet/util"

	"github.com/mlstudio/studio/localcluster/network"
)

// addClients gives the kubelet its ways to the API server.
func addClients(ctx context.Context, c Config, kc *kubeletconfig.KubeletConfiguration, deps *kubelet.Dependencies) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Dir.NodeKubeconfig())
	if err != nil {
		return fmt.Errorf("reading the node's credentials: %w", err)
	}
	cfg.QPS, cfg.Burst = float32(kc.KubeAPIQPS), int(kc.KubeAPIBurst)
	cfg.ContentType = kc.ContentType
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	if deps.KubeClient, err = newReadsPods(ctx, cs); err != nil {
		return err
	}
	events := rest.CopyConfig(cfg)
	events.QPS, events.Burst = float32(kc.EventRecordQPS), int(kc.EventBurst)
	if deps.EventClient, err = typedcorev1.NewForConfig(events); err != nil {
		return err
	}
	heartbeat := rest.CopyConfig(cfg)
	heartbeat.QPS, heartbeat.Timeout = -1, kc.NodeStatusUpdateFrequency.Duration
	if deps.HeartbeatClient, err = kubernetes.NewForConfig(heartbeat); err != nil {
		return err
	}
	addPodSource(ctx, cs, deps)
	return nil
}

// addPodSource gives the kubelet its source of pods. The one that it makes
// itself looks once a second whether the node is registered, and until then
// starts no pod; this one is told.
func addPodSource(ctx context.Context, cs kubernetes.Interface, deps *kubelet.Dependencies) {
	// The pods' source reports through a recorder that the kubelet would
	// otherwise make too late.
	events := record.NewBroadcaster(record.WithContext(ctx))
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: cs.CoreV1().Events("")})
	deps.Recorder = events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: network.NodeName})
	deps.PodStartupLatencyTracker = util.NewPodStartupLatencyTracker()

	source := podconfig.NewPodConfig(deps.Recorder, deps.PodStartupLatencyTracker)
	registered := func() bool { return awaitNode(ctx, cs) == nil }
	podconfig.NewSourceApiserver(klog.FromContext(ctx), cs, types.NodeName(network.NodeName), registered, source.Channel(ctx, kubelettypes.ApiserverSource))
	deps.PodConfig = source
}

// awaitNode returns when the API server knows the node.
func awaitNode(ctx context.Context, cs kubernetes.Interface) error {
	lw := cache.NewListWatchFromClient(cs.CoreV1().RESTClient(), "nodes", "", fields.OneTermEqualSelector("metadata.name", network.NodeName))
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Node{}, nil, func(ev watch.Event) (bool, error) {
		return ev.Type != watch.Deleted, nil
	})
	return err
}
