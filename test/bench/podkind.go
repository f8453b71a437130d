package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// podKindFigures are measured on the embedded node and on a kind cluster in turn.
var podKindFigures = []struct {
	name           string
	atOnce, rounds int
	unit           string
	most           float64
}{
	{"podkind.one", 1, 15, "ms", 0.06},
	{"podkind.hundred", 100, 2, "s", 0.12},
}

// kindPeer is a kind cluster that runs already (hack/bench-pod-kind brings it up)
// and the image of a pod that it has.
type kindPeer struct{ kubeconfig, image, archive string }

// benchPodKind: the same pod from create to Succeeded, seen by a watch, from the
// same image, on the embedded node and on a kind cluster.
func benchPodKind(ctx context.Context, b *bench) error {
	if b.kind.kubeconfig == "" || b.kind.image == "" || b.kind.archive == "" {
		return errors.New("-kind-kubeconfig, -kind-image and -kind-archive are needed; make bench-pod-kind gives them")
	}
	s, end, err := b.fresh(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := s.run(ctx, "image", "import", b.kind.archive); err != nil {
		return err
	}
	ours, err := client(s.dir)
	if err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", b.kind.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading kind's kubeconfig: %w", err)
	}
	cfg.QPS = -1
	peers, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	return b.podsInTurn(ctx, ours, peers)
}

// podsInTurn takes each round on one cluster after the other, so that what else
// the machine does meanwhile is heard by both.
func (b *bench) podsInTurn(ctx context.Context, ours, peers kubernetes.Interface) error {
	clusters := []kubernetes.Interface{ours, peers}
	var watchers []*watcher
	for _, c := range clusters {
		w, err := watchPods(ctx, c)
		if err != nil {
			return err
		}
		defer w.stop()
		watchers = append(watchers, w)
		if _, err := succeed(ctx, c, w, b.imagePods("warm-up", 1)); err != nil {
			return err
		}
	}
	for _, f := range podKindFigures {
		times := make([][]time.Duration, len(clusters))
		for round := range f.rounds {
			for i, c := range clusters {
				took, err := succeed(ctx, c, watchers[i], b.imagePods(fmt.Sprintf("n%d-%d", f.atOnce, round), f.atOnce))
				if err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
				times[i] = append(times[i], took)
			}
		}
		scale := ms
		if f.unit == "s" {
			scale = time.Duration.Seconds
		}
		r := row{Bench: f.name, Studio: scale(median(times[0])), Peer: scale(median(times[1])), Unit: f.unit, N: f.rounds}
		if err := b.report(r, limit{ratio: f.most}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) imagePods(name string, n int) []*corev1.Pod {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = truePod(fmt.Sprintf("%s-%d", name, i), false)
		pods[i].Spec.Containers[0].Image = b.kind.image
	}
	return pods
}

// succeed creates the pods, returns when the last has succeeded, and waits until
// they are gone again: a node takes 110.
func succeed(ctx context.Context, c kubernetes.Interface, w *watcher, pods []*corev1.Pod) (time.Duration, error) {
	took, err := atOnce(ctx, w, pods, func(ctx context.Context, w *watcher, p *corev1.Pod) error {
		w.expect(p.Name, corev1.PodSucceeded)
		_, err := c.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return 0, err
	}
	return took, w.emptied(ctx, c)
}
