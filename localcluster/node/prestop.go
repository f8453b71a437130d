package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"

	"github.com/mlstudio/studio/localcluster/hostrt"
)

// The kubelet notes on each container what it needs to end it when the pod is
// no longer known.
const (
	preStopAnnotation = "io.kubernetes.container.preStopHandler"
	portsAnnotation   = "io.kubernetes.container.ports"
)

// preStop runs containers' preStop hooks as the kubelet does, which has ended
// when `studio down` ends the pods: a running one would start them again.
func preStop(runtime *hostrt.Server, log *slog.Logger) func(context.Context, hostrt.Ending) {
	client := &http.Client{
		// As the kubelet's: it has no credentials, and hooks no known certificates.
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: httpprobe.RedirectChecker(false),
	}
	return func(ctx context.Context, e hostrt.Ending) {
		raw := e.Annotations[preStopAnnotation]
		if raw == "" {
			return
		}
		// A request does not know of the context: what takes too long is left behind.
		ended := make(chan error, 1)
		go func() { ended <- runHook(ctx, client, runtime, e, raw) }()
		var err error
		select {
		case err = <-ended:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			log.Warn("a preStop hook failed", "namespace", e.Labels[kubelettypes.KubernetesPodNamespaceLabel], "pod", e.Labels[kubelettypes.KubernetesPodNameLabel],
				"container", e.Labels[kubelettypes.KubernetesContainerNameLabel], "error", err)
		}
	}
}

func runHook(ctx context.Context, client *http.Client, runtime *hostrt.Server, e hostrt.Ending, raw string) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: e.Labels[kubelettypes.KubernetesPodNamespaceLabel], Name: e.Labels[kubelettypes.KubernetesPodNameLabel], UID: types.UID(e.Labels[kubelettypes.KubernetesPodUIDLabel]),
	}}
	container := &corev1.Container{Name: e.Labels[kubelettypes.KubernetesContainerNameLabel]}
	hook := &corev1.LifecycleHandler{}
	if err := json.Unmarshal([]byte(raw), hook); err != nil {
		return fmt.Errorf("reading the hook: %w", err)
	}
	if ports := e.Annotations[portsAnnotation]; ports != "" {
		if err := json.Unmarshal([]byte(ports), &container.Ports); err != nil {
			return fmt.Errorf("reading the container's ports: %w", err)
		}
	}
	runner := lifecycle.NewHandlerRunner(client, commands{runtime}, address(e.PodIP), nil)
	_, err := runner.Run(ctx, kubecontainer.ContainerID{Type: "hostrt", ID: e.ID}, pod, container, hook)
	return err
}

// commands runs commands in containers for the hooks.
type commands struct{ runtime *hostrt.Server }

func (c commands) RunInContainer(ctx context.Context, id kubecontainer.ContainerID, cmd []string, timeout time.Duration) ([]byte, error) {
	res, err := c.runtime.ExecSync(ctx, &rt.ExecSyncRequest{ContainerId: id.ID, Cmd: cmd, Timeout: int64(timeout.Seconds())})
	if err == nil && res.ExitCode != 0 {
		err = fmt.Errorf("it ended with exit code %d", res.ExitCode)
	}
	return append(res.GetStdout(), res.GetStderr()...), err
}

// address is the pod's, for hooks that are requests.
type address string

func (a address) GetPod(context.Context, types.UID) (*kubecontainer.Pod, error) {
	return &kubecontainer.Pod{}, nil
}

func (a address) GetPodStatus(context.Context, *kubecontainer.Pod) (*kubecontainer.PodStatus, error) {
	return &kubecontainer.PodStatus{IPs: []string{string(a)}}, nil
}
