package node

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/mlstudio/studio/localcluster/hostrt"
	"github.com/mlstudio/studio/localcluster/network"
)

// recorder turns what the node has to say into Events. It never blocks: writes
// happen behind it, and repeated ones are counted.
type recorder struct {
	record.EventRecorder
	stop func()
}

func newRecorder(ctx context.Context, cs kubernetes.Interface) recorder {
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: cs.CoreV1().Events("")})
	return recorder{b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "studio-runtime", Host: network.NodeName}), b.Shutdown}
}

// pod records an event of the runtime on its pod.
func (r recorder) pod(e hostrt.Event) {
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	pod := &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: e.Namespace, Name: e.Name, UID: types.UID(e.UID)}
	r.Event(pod, kind, e.Reason, e.Message)
}

// warn records a warning on any object.
func (r recorder) warn(object runtime.Object, reason, message string) {
	r.Event(object, corev1.EventTypeWarning, reason, message)
}

// warnNode records a warning on the node. Like the kubelet's own ones it names
// the node in place of its UID: `kubectl describe node` looks for that.
func (r recorder) warnNode(reason, message string) {
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: network.NodeName, UID: network.NodeName}
	r.Event(node, corev1.EventTypeWarning, reason, message)
}
