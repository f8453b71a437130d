package hostrt

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// The kubelet notes a pod's grace, in seconds, on each of its containers.
const (
	graceAnnotation = "io.kubernetes.pod.terminationGracePeriod"
	defaultGrace    = 30 * time.Second
)

// graceOf is how long a container may take to end, at most limit unless that is 0.
func graceOf(c *container, limit time.Duration) time.Duration {
	grace := defaultGrace
	if n, err := strconv.ParseInt(c.cfg.GetAnnotations()[graceAnnotation], 10, 32); err == nil && n >= 0 {
		grace = time.Duration(n) * time.Second
	}
	if limit > 0 {
		grace = min(grace, limit)
	}
	return grace
}

// Ending is a container that is about to be told to end.
type Ending struct {
	ID                  string
	Labels, Annotations map[string]string
	PodIP               string
}

// Drain says how StopAll ends pods.
type Drain struct {
	// Limit bounds each container's own grace, unless it is 0.
	Limit time.Duration
	// Before, unless nil, is called before a container's stop signal, within its grace.
	Before func(context.Context, Ending)
	// Stage, unless nil, orders the containers of a pod: those of a higher one
	// wait until the lower ones have ended or their own grace is over.
	Stage func(Ending) int
}

// StopAll ends every pod for `studio down`: all containers, then the sandboxes.
// The kubelet would start them anew, so it must have ended before.
func (s *Server) StopAll(ctx context.Context, d Drain) error {
	s.mu.Lock()
	running := map[*pod][]*container{}
	var all []*pod
	for _, c := range s.containers {
		if c.state.Phase == shimapi.Running {
			running[c.pod] = append(running[c.pod], c)
		}
	}
	for _, p := range s.pods {
		p.stopping = true
		all = append(all, p)
	}
	s.mu.Unlock()
	errs := make([]error, len(all))
	var wait sync.WaitGroup
	for i, p := range all {
		wait.Go(func() { errs[i] = s.endContainers(ctx, running[p], d) })
	}
	wait.Wait()
	for i, p := range all {
		wait.Go(func() {
			_, err := s.StopPodSandbox(ctx, &rt.StopPodSandboxRequest{PodSandboxId: p.id})
			if err == nil {
				err = p.gone(ctx)
			}
			errs[i] = errors.Join(errs[i], err)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// endContainers ends a pod's containers, stage by stage.
func (s *Server) endContainers(ctx context.Context, own []*container, d Drain) error {
	stages := map[int][]*container{}
	for _, c := range own {
		n := 0
		if d.Stage != nil {
			n = d.Stage(s.ending(c))
		}
		stages[n] = append(stages[n], c)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	turn := make(chan struct{})
	close(turn)
	for _, n := range slices.Sorted(maps.Keys(stages)) {
		mine, next := turn, make(chan struct{})
		var stage sync.WaitGroup
		for _, c := range stages[n] {
			stage.Go(func() {
				err := s.endInTurn(ctx, c, d, mine)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		wait.Go(func() { stage.Wait(); close(next) })
		turn = next
	}
	wait.Wait()
	return errors.Join(errs...)
}

// leastGrace is left for the stop signal however long what came before took,
// as with the kubelet.
const leastGrace = 2 * time.Second

// endInTurn ends one container. Its grace also covers the waiting for its turn
// and what comes before the signal.
func (s *Server) endInTurn(ctx context.Context, c *container, d Drain, turn <-chan struct{}) error {
	grace, begun := graceOf(c, d.Limit), time.Now()
	within, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	select {
	case <-turn:
	case <-within.Done():
	}
	if d.Before != nil && within.Err() == nil {
		d.Before(within, s.ending(c))
	}
	return s.stopContainer(ctx, c, max(grace-time.Since(begun), min(grace, leastGrace)))
}

func (s *Server) ending(c *container) Ending {
	return Ending{ID: c.id, Labels: c.cfg.GetLabels(), Annotations: c.cfg.GetAnnotations(), PodIP: s.podIP(c.pod).String()}
}
