// Package events writes Kubernetes Events in the core form, with firstTimestamp
// set: SDKs and dashboards overlook Events that only the newer form describes.
package events

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
)

// New returns a recorder that names the component as the source. It stops when
// ctx ends.
func New(ctx context.Context, cfg *rest.Config, hc *http.Client, scheme *runtime.Scheme, component string) (record.EventRecorder, error) {
	core, err := typedcorev1.NewForConfigAndClient(cfg, hc)
	if err != nil {
		return nil, fmt.Errorf("making the client for events: %w", err)
	}
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: core.Events("")})
	return b.NewRecorder(scheme, corev1.EventSource{Component: component}), nil
}

// Newer lets a library that writes the newer form write the core form instead.
func Newer(r record.EventRecorder) events.EventRecorder { return newer{r} }

type newer struct{ core record.EventRecorder }

// Eventf drops what the core form has no place for: the action and the related object.
func (n newer) Eventf(regarding, _ runtime.Object, eventtype, reason, _, note string, args ...any) {
	if len(args) == 0 {
		// Some callers pass a finished text, in which a % is a %.
		n.core.Event(regarding, eventtype, reason, note)
		return
	}
	n.core.Eventf(regarding, eventtype, reason, note, args...)
}
