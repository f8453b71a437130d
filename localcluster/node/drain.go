package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"

	"github.com/mlstudio/studio/localcluster/hostrt"
	"github.com/mlstudio/studio/localcluster/network"
)

// Drain ends all pods, after their preStop hooks. Each has its own grace, and at
// most the given one unless that is 0.
func Drain(ctx context.Context, c Config, grace time.Duration) error {
	net, err := network.Load(c.Dir)
	if err != nil {
		return err
	}
	// Whoever looks at the pods later sees their end in the API; nobody is there
	// to be told now.
	runtime, err := newRuntime(c, net, func(hostrt.Event) {})
	if err != nil {
		return err
	}
	return runtime.StopAll(ctx, hostrt.Drain{Limit: grace, Before: preStop(runtime, c.Log), Stage: sidecarsLast(ctx, c)})
}

// askingForPods is how long the end of the pods may wait for the API server,
// which may have ended too.
const askingForPods = 2 * time.Second

// sidecarsLast orders the containers of a pod as the kubelet does: sidecars, the
// last one first, after all that they serve. Only the API knows which they are;
// without it all end at once.
func sidecarsLast(ctx context.Context, c Config) func(hostrt.Ending) int {
	stages := map[string]int{}
	if err := listSidecars(ctx, c, stages); err != nil {
		c.Log.Info("the pods' sidecars are not known and end with the other containers", "error", err)
	}
	return func(e hostrt.Ending) int {
		return stages[e.Labels[kubelettypes.KubernetesPodUIDLabel]+"/"+e.Labels[kubelettypes.KubernetesContainerNameLabel]]
	}
}

func listSidecars(ctx context.Context, c Config, stages map[string]int) error {
	cs, err := client(c.Dir.NodeKubeconfig())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askingForPods)
	defer cancel()
	pods, err := cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + network.NodeName})
	if err != nil {
		return err
	}
	for _, p := range pods.Items {
		for i, init := range p.Spec.InitContainers {
			if r := init.RestartPolicy; r != nil && *r == corev1.ContainerRestartPolicyAlways {
				stages[string(p.UID)+"/"+init.Name] = len(p.Spec.InitContainers) - i
			}
		}
	}
	return nil
}
