package hostrt

import (
	"context"
	"errors"
	"sync"
	"time"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// StopAll ends every pod for `studio down`: stop signals to all containers at
// once, up to grace for them to end, then the sandboxes. What the kubelet would
// do next must not happen any more, so it is to be stopped before.
func (s *Server) StopAll(ctx context.Context, grace time.Duration) error {
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
		wait.Go(func() { errs[i] = s.stopContainer(ctx, c, grace) })
	}
	wait.Wait()
	for i, p := range all {
		wait.Go(func() {
			_, errs[len(running)+i] = s.StopPodSandbox(ctx, &rt.StopPodSandboxRequest{PodSandboxId: p.id})
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
