package hostrt_test

import (
	"context"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// BenchmarkPod runs pods of `true` one after the other, without a kubelet.
// Beside the time of a whole pod it reports that of each step, and the processor
// time of all processes: what else the machine does changes that least.
//
//	go test -run '^$' -bench Pod -benchtime 200x ./localcluster/hostrt
func BenchmarkPod(b *testing.B) {
	benchmarkPods(b, newNode(b), func(c *rt.ContainerConfig) { c.Command = []string{"true"} })
}

// BenchmarkImagePod is the same with containers that run from an image of three
// layers: a static program in place of the machine's `true`.
func BenchmarkImagePod(b *testing.B) {
	n := newNode(b)
	n.imported("docker.io/library/bench:1", build(b, v1.Config{Entrypoint: []string{"/probe", "args"}}, []file{probe(b)}, []file{text("a/b", "")}, []file{text("a/c", "")}))
	benchmarkPods(b, n, n.of("bench:1"))
}

func benchmarkPods(b *testing.B, n *node, change func(*rt.ContainerConfig)) {
	ctx := context.Background()
	stream, err := n.rt.GetContainerEvents(ctx, &rt.GetEventsRequest{})
	if err != nil {
		b.Fatal(err)
	}
	var steps [4]time.Duration
	before := processorTime(b)
	for b.Loop() {
		at := [5]time.Time{time.Now()}
		p := n.pod()
		at[1] = time.Now()
		c := p.run("", change)
		at[2] = time.Now()
		for ended := false; !ended; {
			e, err := stream.Recv()
			if err != nil {
				b.Fatal(err)
			}
			ended = e.ContainerId == c.id && e.ContainerEventType == rt.ContainerEventType_CONTAINER_STOPPED_EVENT
		}
		at[3] = time.Now()
		if _, err := n.rt.RemovePodSandbox(ctx, &rt.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
			b.Fatal(err)
		}
		at[4] = time.Now()
		for i := range steps {
			steps[i] += at[i+1].Sub(at[i])
		}
	}
	report := func(total time.Duration, name string) {
		b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), name+"-ms/op")
	}
	report(processorTime(b)-before, "cpu")
	for i, name := range []string{"sandbox", "start", "exit", "stop"} {
		report(steps[i], name)
	}
}

// processorTime is that of this process and of all that it waited for.
func processorTime(b *testing.B) (total time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}
