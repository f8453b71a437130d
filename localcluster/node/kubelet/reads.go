package kubelet

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/mlstudio/studio/localcluster/network"
)

// readsPods answers the kubelet's reads of its own pods from a watch and from
// what its writes returned. The kubelet reads a pod before each write of its
// status, five times for one that only runs `true`, one pod after the other: a
// third of all that the API server did for such a pod. What is read is as old as
// the watch's way here, and never older than the kubelet's own last write.
type readsPods struct {
	kubernetes.Interface
	seen   corelisters.PodLister
	synced cache.InformerSynced

	mu      sync.Mutex
	written map[types.NamespacedName]*corev1.Pod
}

func newReadsPods(ctx context.Context, cs kubernetes.Interface) (*readsPods, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(cs, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", network.NodeName).String()
	}))
	pods := factory.Core().V1().Pods()
	r := &readsPods{Interface: cs, seen: pods.Lister(), synced: pods.Informer().HasSynced, written: map[types.NamespacedName]*corev1.Pod{}}
	_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, obj any) { r.arrived(obj, false) },
		DeleteFunc: func(obj any) { r.arrived(obj, true) },
	})
	factory.Start(ctx.Done())
	return r, err
}

// arrived forgets a write that the watch has brought back.
func (r *readsPods) arrived(obj any, deleted bool) {
	if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.written[name]; w != nil && (deleted || !newer(w, pod)) {
		delete(r.written, name)
	}
}

// newer tells whether a is a later state than b; where that cannot be told it is not.
func newer(a, b *corev1.Pod) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && order > 0
}

// latest is nil for a pod that the watch has not brought.
func (r *readsPods) latest(namespace, name string) *corev1.Pod {
	if !r.synced() {
		return nil
	}
	pod, err := r.seen.Pods(namespace).Get(name)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.written[types.NamespacedName{Namespace: namespace, Name: name}]; w != nil && newer(w, pod) {
		pod = w
	}
	return pod.DeepCopy()
}

func (r *readsPods) wrote(pod *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = pod.DeepCopy()
}

// CoreV1 is as the client's own, but for the reads of pods.
func (r *readsPods) CoreV1() typedcorev1.CoreV1Interface {
	return core{r.Interface.CoreV1(), r}
}

type core struct {
	typedcorev1.CoreV1Interface
	reads *readsPods
}

func (c core) Pods(namespace string) typedcorev1.PodInterface {
	return pods{c.CoreV1Interface.Pods(namespace), c.reads, namespace}
}

type pods struct {
	typedcorev1.PodInterface
	reads     *readsPods
	namespace string
}

func (p pods) Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.Pod, error) {
	// The kubelet notes a pod's last phase, reads the pod, and drops the phase if
	// its worker has not yet left the pod: upstream counts on the time of a real
	// read.
	if pod := p.reads.latest(p.namespace, name); pod != nil && !ending(pod) {
		return pod, nil
	}
	return p.PodInterface.Get(ctx, name, o)
}

// ending tells whether the last phase may be what is written next.
func ending(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil || c.State.Waiting != nil {
			return false
		}
	}
	return len(pod.Status.ContainerStatuses) > 0
}

func (p pods) Patch(ctx context.Context, name string, kind types.PatchType, patch []byte, o metav1.PatchOptions, sub ...string) (*corev1.Pod, error) {
	pod, err := p.PodInterface.Patch(ctx, name, kind, patch, o, sub...)
	if err == nil {
		p.reads.wrote(pod)
	}
	return pod, err
}
