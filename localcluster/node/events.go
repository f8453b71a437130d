package node

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/mlstudio/studio/localcluster/hostrt"
	"github.com/mlstudio/studio/localcluster/network"
)

// newRecorder returns what turns the runtime's events into Events on pods. It
// never blocks: writes happen behind it, and repeated ones are counted.
func newRecorder(ctx context.Context, kubeconfig string) (func(hostrt.Event), func(), error) {
	cs, err := client(kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: cs.CoreV1().Events("")})
	r := b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "studio-runtime", Host: network.NodeName})
	return func(e hostrt.Event) {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		pod := &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: e.Namespace, Name: e.Name, UID: types.UID(e.UID)}
		r.Event(pod, kind, e.Reason, e.Message)
	}, b.Shutdown, nil
}
