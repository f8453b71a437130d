package services

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/mlstudio/studio/localcluster/network"
)

// pause is the time between a change and the next one that is answered, so that
// two who disagree do not take the machine.
const pause = time.Second

// Keep puts the objects right whenever somebody changes or deletes one, until
// ctx ends: without them no pod finds the API server or a name.
func Keep(ctx context.Context, cs kubernetes.Interface, n network.Network, log *slog.Logger) {
	changed := make(chan struct{}, 1)
	touch := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	for _, w := range []struct {
		client          rest.Interface
		resource        string
		namespace, name string
		kind            runtime.Object
	}{
		{cs.DiscoveryV1().RESTClient(), "endpointslices", metav1.NamespaceDefault, apiName, &discoveryv1.EndpointSlice{}},
		//lint:ignore SA1019 clients of the older form read it still
		{cs.CoreV1().RESTClient(), "endpoints", metav1.NamespaceDefault, apiName, &corev1.Endpoints{}},
		{cs.DiscoveryV1().RESTClient(), "endpointslices", metav1.NamespaceSystem, dnsName, &discoveryv1.EndpointSlice{}},
		{cs.CoreV1().RESTClient(), "services", metav1.NamespaceSystem, dnsName, &corev1.Service{}},
	} {
		_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
			ListerWatcher: cache.NewListWatchFromClient(w.client, w.resource, w.namespace, fields.OneTermEqualSelector("metadata.name", w.name)),
			ObjectType:    w.kind,
			Handler: cache.ResourceEventHandlerFuncs{
				UpdateFunc: func(any, any) { touch() },
				DeleteFunc: func(any) { touch() },
			},
		})
		go informer.RunWithContext(ctx)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		// Applying what is as it should be changes nothing, and so brings no event.
		if err := Ensure(ctx, cs, n); err != nil && ctx.Err() == nil {
			log.Error("keeping the cluster's own Services; trying again", "error", err)
			touch()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
