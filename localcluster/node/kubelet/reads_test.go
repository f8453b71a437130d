package kubelet

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestReadsPods plays an API server whose watch is late.
func TestReadsPods(t *testing.T) {
	version := func(rv, phase string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", ResourceVersion: rv}, Status: corev1.PodStatus{Phase: corev1.PodPhase(phase)}}
	}
	cs := fake.NewClientset()
	stream := watch.NewFake()
	cs.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, &corev1.PodList{}, nil })
	cs.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) { return true, stream, nil })
	cs.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, version("1", "asked"), nil })
	cs.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, version("10", "written"), nil })
	r, err := newReadsPods(t.Context(), cs)
	if err != nil {
		t.Fatal(err)
	}
	read := func() string {
		p, err := r.CoreV1().Pods("n").Get(t.Context(), "p", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(p.Status.Phase)
	}
	await := func(want string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); read() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("read %q, want %q", read(), want)
			}
		}
	}
	if got := read(); got != "asked" {
		t.Fatalf("a pod that the watch has not brought: read %q", got)
	}
	stream.Add(version("9", "seen"))
	await("seen")
	if _, err := r.CoreV1().Pods("n").Patch(t.Context(), "p", types.StrategicMergePatchType, nil, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	// The watch is behind: what was written counts, also after an older state.
	if got := read(); got != "written" {
		t.Fatalf("after a write: read %q", got)
	}
	stream.Modify(version("9", "older"))
	stream.Modify(version("11", "newest"))
	await("newest")
	if len(r.written) != 0 {
		t.Errorf("writes that the watch brought back are kept: %v", r.written)
	}
	stream.Delete(version("12", "deleted"))
	await("asked")
	asked := slices.DeleteFunc(cs.Actions(), func(a clienttesting.Action) bool { return a.GetVerb() != "get" })
	if len(asked) < 2 {
		t.Errorf("%d reads asked the API server", len(asked))
	}
}
