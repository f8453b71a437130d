package hostrt

import (
	"context"
	"errors"
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

// StopAll ends every pod for `studio down`: what before does for each container,
// then its stop signal, for each its own grace to end, at most limit unless that
// is 0, and last the sandboxes. The kubelet would start them anew, so it must
// have ended before.
func (s *Server) StopAll(ctx context.Context, limit time.Duration, before func(context.Context, Ending)) error {
	s.mu.Lock()
	var running []*container
	var all []*pod
	for _, c := range s.containers {
		if c.state.Phase == shimapi.Running {
			running = append(running, c)
		}
	}
	for _, p := range s.pods {
		p.stopping = true
		all = append(all, p)
	}
	s.mu.Unlock()
	errs := make([]error, len(running)+len(all))
	var wait sync.WaitGroup
	for i, c := range running {
		wait.Go(func() {
			left := s.prepareEnd(ctx, c, graceOf(c, limit), before)
			errs[i] = s.stopContainer(ctx, c, left)
		})
	}
	wait.Wait()
	for i, p := range all {
		wait.Go(func() {
			if _, err := s.StopPodSandbox(ctx, &rt.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
				errs[len(running)+i] = err
				return
			}
			errs[len(running)+i] = p.gone(ctx)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// leastGrace is left for the stop signal however long what came before took,
// as with the kubelet.
const leastGrace = 2 * time.Second

// prepareEnd runs what comes before a stop signal and returns what is left of the grace.
func (s *Server) prepareEnd(ctx context.Context, c *container, grace time.Duration, before func(context.Context, Ending)) time.Duration {
	if before == nil || grace == 0 {
		return grace
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	before(ctx, Ending{ID: c.id, Labels: c.cfg.GetLabels(), Annotations: c.cfg.GetAnnotations(), PodIP: s.podIP(c.pod).String()})
	return max(grace-time.Since(begun), min(grace, leastGrace))
}
