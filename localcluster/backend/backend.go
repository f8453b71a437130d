// Package backend finds what stands behind a service or a pod, follows it by
// watches, and dials it. A service is dialed at one of its endpoints, so that
// headless services work too and nothing depends on the node's rules.
package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Target names a port of a service or a pod.
type Target struct {
	// Kind is Service or Pod.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Port is a number or a name.
	Port string `json:"port"`
}

// The kinds of target.
const (
	Service = "Service"
	Pod     = "Pod"
)

func (t Target) String() string {
	kind := "service"
	if t.Kind == Pod {
		kind = "pod"
	}
	return fmt.Sprintf("%s %s/%s port %s", kind, t.Namespace, t.Name, t.Port)
}

// Dial connects to an address inside the cluster.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Backend is one target and what stands behind it now.
type Backend struct {
	target Target
	dial   Dial

	mu        sync.Mutex
	addresses []string
	// why there is no address.
	why    error
	sticky bool
	next   int
	// changed is closed when any of these change.
	changed chan struct{}
}

var errNotSeen = errors.New("the API server has not answered yet")

// Follow watches the target until ctx ends. It returns at once.
func Follow(ctx context.Context, client kubernetes.Interface, dial Dial, target Target) *Backend {
	b := &Backend{target: target, dial: dial, why: errNotSeen, changed: make(chan struct{})}
	if target.Kind == Pod {
		b.followPod(ctx, client)
	} else {
		b.followService(ctx, client)
	}
	return b
}

func named(ctx context.Context, client kubernetes.Interface, t Target, tweak func(*metav1.ListOptions)) informers.SharedInformerFactory {
	f := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(t.Namespace), informers.WithTweakListOptions(tweak))
	context.AfterFunc(ctx, f.Shutdown)
	return f
}

func (b *Backend) followPod(ctx context.Context, client kubernetes.Interface) {
	pods := named(ctx, client, b.target, b.byName).Core().V1().Pods().Informer()
	b.follow(ctx, func() {
		addresses, err := podAddresses(b.target, only[*corev1.Pod](pods))
		b.set(addresses, false, err)
	}, pods)
}

func (b *Backend) followService(ctx context.Context, client kubernetes.Interface) {
	services := named(ctx, client, b.target, b.byName).Core().V1().Services().Informer()
	slices := named(ctx, client, b.target, func(o *metav1.ListOptions) {
		o.LabelSelector = labels.Set{discoveryv1.LabelServiceName: b.target.Name}.String()
	}).Discovery().V1().EndpointSlices().Informer()
	b.follow(ctx, func() {
		svc := only[*corev1.Service](services)
		addresses, err := serviceAddresses(b.target, svc, all[*discoveryv1.EndpointSlice](slices))
		b.set(addresses, svc != nil && svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP, err)
	}, services, slices)
}

func (b *Backend) byName(o *metav1.ListOptions) {
	o.FieldSelector = fields.OneTermEqualSelector("metadata.name", b.target.Name).String()
}

// follow looks again at each event, once all watches have their first answer.
func (b *Backend) follow(ctx context.Context, look func(), all ...cache.SharedIndexInformer) {
	var turns sync.Mutex
	synced := func() bool {
		for _, i := range all {
			if !i.HasSynced() {
				return false
			}
		}
		return true
	}
	again := func(any) {
		turns.Lock()
		defer turns.Unlock()
		if synced() {
			look()
		}
	}
	for _, i := range all {
		// It fails only for an informer that has ended.
		_, _ = i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: again, UpdateFunc: func(_, now any) { again(now) }, DeleteFunc: again,
		})
		go i.RunWithContext(ctx)
	}
	go func() {
		waits := make([]cache.InformerSynced, len(all))
		for i := range all {
			waits[i] = all[i].HasSynced
		}
		if cache.WaitForCacheSync(ctx.Done(), waits...) {
			again(nil)
		}
	}()
}

func all[T any](i cache.SharedIndexInformer) []T {
	var list []T
	for _, o := range i.GetStore().List() {
		if t, ok := o.(T); ok {
			list = append(list, t)
		}
	}
	return list
}

// only is the one object that was asked for, or nil.
func only[T any](i cache.SharedIndexInformer) (one T) {
	for _, t := range all[T](i) {
		one = t
	}
	return one
}

func (b *Backend) set(addresses []string, sticky bool, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addresses, b.sticky, b.why = addresses, sticky, why
	close(b.changed)
	b.changed = make(chan struct{})
}

// Addresses are where the target is now; without any, the error says why.
func (b *Backend) Addresses() ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addresses, b.why
}

// Known returns when the API server has told of the target, or ctx ends.
func (b *Backend) Known(ctx context.Context) {
	for {
		b.mu.Lock()
		why, changed := b.why, b.changed
		b.mu.Unlock()
		if why != errNotSeen {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Patience is how long a dial waits for a first endpoint.
const Patience = 15 * time.Second

// Dial connects to the target, taking turns among its endpoints. Without one it
// waits for a while: a pod may be starting.
func (b *Backend) Dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		b.mu.Lock()
		addresses, why, changed, first := b.addresses, b.why, b.changed, b.next
		if !b.sticky {
			b.next++
		}
		b.mu.Unlock()
		if len(addresses) > 0 {
			return b.dialOne(ctx, addresses, first)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("dialing %s: %w", b.target, why)
		case <-changed:
		}
	}
}

// dialOne tries each endpoint once.
func (b *Backend) dialOne(ctx context.Context, addresses []string, first int) (net.Conn, error) {
	var err error
	for i := range addresses {
		at := (first + i) % len(addresses)
		var conn net.Conn
		if conn, err = b.dial(ctx, "tcp", addresses[at]); err == nil {
			b.keep(at)
			return conn, nil
		}
	}
	return nil, fmt.Errorf("dialing %s: %w", b.target, err)
}

// keep stays with the endpoint that answered, where the service asks for it.
func (b *Backend) keep(at int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sticky {
		b.next = at
	}
}
