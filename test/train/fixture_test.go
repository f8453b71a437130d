package train

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/yaml"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// limit is how long anything may take on a busy machine.
const limit = 60 * time.Second

// fixture is one test's namespace.
type fixture struct {
	*testing.T
	ctx context.Context
	client.WithWatch
	ns string

	mu       sync.Mutex
	warnings []string
}

func setup(t *testing.T) *fixture {
	t.Helper()
	t.Parallel()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, jobsetv1alpha2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	f := &fixture{T: t, ctx: t.Context()}
	cfg := rest.CopyConfig(restConfig)
	cfg.WarningHandlerWithContext = f
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	f.WithWatch = c
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	if err := c.Create(f.ctx, ns); err != nil {
		t.Fatal(err)
	}
	f.ns = ns.Name
	// Pods are refused until the namespace's default account is there.
	f.await(&corev1.ServiceAccountList{}, "the default service account", func(o client.Object) bool { return o.GetName() == "default" })
	return f
}

// HandleWarningHeaderWithContext keeps the API server's warnings.
func (f *fixture) HandleWarningHeaderWithContext(_ context.Context, _ int, _ string, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.warnings = append(f.warnings, text)
}

// apply creates the objects of a YAML text in the test's namespace, with the
// API server's strict validation.
func (f *fixture) apply(text string) error {
	for _, obj := range f.objects([]byte(text)) {
		if err := f.Create(f.ctx, obj, client.FieldValidation("Strict")); err != nil {
			return fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	return nil
}

func (f *fixture) mustApply(text string) {
	f.Helper()
	if err := f.apply(text); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) mustApplyFile(path string) {
	f.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.mustApply(string(raw))
}

func (f *fixture) objects(raw []byte) []*unstructured.Unstructured {
	f.Helper()
	var all []*unstructured.Unstructured
	for r := kyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			f.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &u.Object); err != nil {
			f.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if !strings.HasPrefix(u.GetKind(), "Cluster") {
			u.SetNamespace(f.ns)
		}
		all = append(all, u)
	}
}

// await watches the list's kind in the namespace until ok holds for an object.
func (f *fixture) await(list client.ObjectList, what string, ok func(client.Object) bool) client.Object {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, limit)
	defer cancel()
	w, err := f.Watch(ctx, list, client.InNamespace(f.ns))
	if err != nil {
		f.Fatal(err)
	}
	defer w.Stop()
	seen := map[string]client.Object{}
	for {
		select {
		case <-ctx.Done():
			f.dump(seen)
			f.Fatalf("waited in vain for %s", what)
		case e, open := <-w.ResultChan():
			if !open {
				f.Fatalf("the watch ended while waiting for %s", what)
			}
			if o, is := e.Object.(client.Object); is {
				seen[o.GetName()] = o
				if e.Type != "DELETED" && ok(o) {
					return o
				}
			}
		}
	}
}

func (f *fixture) dump(seen map[string]client.Object) {
	for _, o := range seen {
		o.SetManagedFields(nil)
		raw, _ := yaml.Marshal(o)
		f.Logf("last seen:\n%s", raw)
	}
}

// trainJob waits until ok holds for the named TrainJob.
func (f *fixture) trainJob(name, what string, ok func(*v1alpha1.TrainJob) bool) *v1alpha1.TrainJob {
	f.Helper()
	return f.await(&v1alpha1.TrainJobList{}, "TrainJob "+name+" "+what, func(o client.Object) bool {
		tj, is := o.(*v1alpha1.TrainJob)
		return is && tj.Name == name && ok(tj)
	}).(*v1alpha1.TrainJob)
}

// ends waits for a final condition and checks its type and reason.
func (f *fixture) ends(name, condition, reason string) *v1alpha1.TrainJob {
	f.Helper()
	tj := f.trainJob(name, "to end", func(tj *v1alpha1.TrainJob) bool {
		return meta.IsStatusConditionTrue(tj.Status.Conditions, "Complete") || meta.IsStatusConditionTrue(tj.Status.Conditions, "Failed")
	})
	c := meta.FindStatusCondition(tj.Status.Conditions, condition)
	if c == nil || c.Status != "True" || c.Reason != reason {
		f.Fatalf("TrainJob %s ended with %+v, want %s %s", name, tj.Status.Conditions, condition, reason)
	}
	return tj
}

// event waits for a core Event about the object whose message contains text.
func (f *fixture) event(kind, name, text string) *corev1.Event {
	f.Helper()
	e := f.await(&corev1.EventList{}, fmt.Sprintf("an Event of %s %s with %q", kind, name, text), func(o client.Object) bool {
		e, is := o.(*corev1.Event)
		return is && e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && strings.Contains(e.Message, text)
	}).(*corev1.Event)
	if e.FirstTimestamp.IsZero() {
		f.Errorf("the Event %q has no firstTimestamp: SDKs hide it", e.Message)
	}
	return e
}

// pods waits until the JobSet has n pods that have not ended, and returns them by index.
func (f *fixture) pods(jobSet string, n int) []*corev1.Pod {
	f.Helper()
	live := map[string]*corev1.Pod{}
	f.await(&corev1.PodList{}, fmt.Sprintf("%d pods of %s", n, jobSet), func(o client.Object) bool {
		p, is := o.(*corev1.Pod)
		if is && p.Labels[jobsetv1alpha2.JobSetNameKey] == jobSet {
			if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodPending {
				live[p.Name] = p
			} else {
				delete(live, p.Name)
			}
		}
		return len(live) == n
	})
	var list []*corev1.Pod
	for _, p := range live {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Labels[batchv1.JobCompletionIndexAnnotation], b.Labels[batchv1.JobCompletionIndexAnnotation])
	})
	return list
}

// kubelet writes a pod's status.
func (f *fixture) kubelet(p *corev1.Pod, phase corev1.PodPhase, c corev1.ContainerStatus) {
	f.Helper()
	was := client.MergeFrom(p.DeepCopy())
	p.Status.Phase = phase
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	if c.Ready {
		p.Status.Conditions[0].Status = corev1.ConditionTrue
	}
	c.Name, c.Image, c.ImageID = "node", p.Spec.Containers[0].Image, "none"
	p.Status.ContainerStatuses = []corev1.ContainerStatus{c}
	if err := f.Status().Patch(f.ctx, p, was); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) runs(p *corev1.Pod) {
	f.Helper()
	f.kubelet(p, corev1.PodRunning, corev1.ContainerStatus{Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}})
}

func terminated(code int32, reason, message string) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message, StartedAt: metav1.Now(), FinishedAt: metav1.Now()}
}

func (f *fixture) exits(p *corev1.Pod, code int32, reason, message string) {
	f.Helper()
	phase := corev1.PodSucceeded
	if code != 0 {
		phase = corev1.PodFailed
	}
	f.kubelet(p, phase, corev1.ContainerStatus{State: corev1.ContainerState{Terminated: terminated(code, reason, message)}})
}
