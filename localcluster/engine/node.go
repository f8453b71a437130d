package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/cgroup"
	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/holder"
	holderclient "github.com/mlstudio/studio/localcluster/holder/client"
	"github.com/mlstudio/studio/localcluster/machine"
	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/projects"
	"github.com/mlstudio/studio/version"
)

// keepNode has a holder with a running node half at all times, until ctx ends.
// It returns an error when the first one did not become ready.
func (e *engine) keepNode(ctx context.Context) error {
	delay := firstDelay
	for restarts := 0; ; restarts++ {
		started := time.Now()
		ready, err := e.node(ctx, restarts)
		if ctx.Err() != nil {
			return nil
		}
		if !ready && restarts == 0 {
			return err
		}
		if err == nil {
			err = errors.New("it ended; its pods ended with it and are started again")
		}
		e.log.Error("the node ended; starting it again", "error", err)
		e.fail(phaseNode, started, err)
		e.hub.process(localcluster.Process{Name: "holder", State: "waiting", Since: time.Now(), Restarts: restarts + 1, Message: err.Error()})
		// A pause keeps a node that cannot live from taking the machine.
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		if delay = min(2*delay, maxDelay); time.Since(started) > healthy {
			delay = firstDelay
		}
	}
}

// node runs one holder to its end, or until ctx ends; the holder then stays.
func (e *engine) node(ctx context.Context, restarts int) (ready bool, err error) {
	start := time.Now()
	e.hub.event(localcluster.Event{Phase: phaseNode, State: localcluster.Started})
	status, err := e.ensureHolder(ctx)
	if err != nil {
		return false, err
	}
	e.hub.update(func(s *client.State) { s.Warnings = status.Warnings })
	e.hub.process(localcluster.Process{Name: "holder", PID: status.PID, State: "running", Since: status.Since, Restarts: restarts})
	if err := e.allowProjects(ctx); err != nil {
		return false, err
	}
	if err := e.hub.wait(ctx, phaseCertificates); err != nil {
		return false, err
	}
	if status.Node.State != "stopped" && status.Version != version.Version {
		// An upgrade: the pods go on while the node half changes.
		if err := e.holder.StopNode(ctx); err != nil {
			return false, fmt.Errorf("ending the node half of Studio %s: %w", status.Version, err)
		}
	}
	if err := e.holder.StartNode(ctx); err != nil {
		return false, fmt.Errorf("starting the node: %w", err)
	}
	return e.followNode(ctx, start)
}

// followNode tells each time that the node is ready, until the holder or ctx ends.
func (e *engine) followNode(ctx context.Context, start time.Time) (ready bool, err error) {
	gone := make(chan error, 1)
	ended := make(chan struct{}, 1)
	watchCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		gone <- e.holder.Events(watchCtx, e.untilBroken(cancel, ended))
		cancel(nil)
	}()
	for {
		if err = e.hub.wait(watchCtx, phaseAPI); err == nil {
			err = e.waitNodeReady(watchCtx)
		}
		if err != nil {
			if cause := context.Cause(watchCtx); watchCtx.Err() != nil && cause != context.Canceled {
				err = cause
			}
			return ready, err
		}
		ready = true
		e.hub.event(localcluster.Event{Phase: phaseNode, State: localcluster.Done, Seconds: time.Since(start).Seconds()})
		select {
		case err = <-gone:
			return ready, err
		case <-ended:
			start = time.Now()
		}
	}
}

// brokenAfter is how often the node half may end before it was ever ready
// until the start is given up.
const brokenAfter = 4

// untilBroken passes the node's events on and signals each end of the node
// half. Once it ended too often without having been ready it cancels with the
// last words.
func (e *engine) untilBroken(cancel context.CancelCauseFunc, ended chan<- struct{}) func(localcluster.Event) {
	ends := 0
	return func(ev localcluster.Event) {
		e.hub.event(ev)
		if ev.Phase != phaseNode || ev.State != localcluster.Failed {
			return
		}
		select {
		case ended <- struct{}{}:
		default:
		}
		if ends++; ends >= brokenAfter && !e.hub.snapshot().Ready {
			cancel(fmt.Errorf("%s; its log is %s", ev.Message, e.dir.Log("node")))
		}
	}
}

func (e *engine) ensureHolder(ctx context.Context) (holderclient.Status, error) {
	status, err := e.holder.Status(ctx)
	if !errors.Is(err, holderclient.ErrNotRunning) {
		return status, err
	}
	// The group of a holder that was killed is of no use any more.
	if err := cgroup.Remove(e.dir); err != nil {
		e.log.Warn("the pods' earlier control group stays", "error", err)
	}
	share, err := machine.Own()
	if err != nil {
		return status, err
	}
	if _, err := holder.Spawn(ctx, holder.Options{Dir: e.dir, Program: e.exe, Share: &share}); err != nil {
		return status, err
	}
	return e.holder.Status(ctx)
}

// allowProjects opens the folders of all projects to the node; one that is gone
// is said when a pod needs it.
func (e *engine) allowProjects(ctx context.Context) error {
	all, err := projects.List(e.dir)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := e.allow(ctx, p); err != nil {
			e.log.Warn("a project's folder cannot be opened to pods", "project", p.ID, "error", err)
		}
	}
	return nil
}

func (e *engine) allow(ctx context.Context, p *projects.Project) error {
	for _, m := range p.Paths() {
		if err := e.holder.Allow(ctx, holderclient.Allow{Path: m.Path, ReadOnly: m.ReadOnly}); err != nil {
			return fmt.Errorf("opening %s to the pods of project %s: %w", m.Path, p.Name, err)
		}
	}
	return nil
}

func (e *engine) registerProject(ctx context.Context, p projects.Project) error {
	if err := projects.Save(e.dir, p); err != nil {
		return err
	}
	return e.allow(ctx, &p)
}

// waitNodeReady returns when the kubelet that runs now has said that it is
// ready: a word of an earlier one does not count.
func (e *engine) waitNodeReady(ctx context.Context) error {
	status, err := e.holder.Status(ctx)
	if err != nil {
		return err
	}
	since := status.Node.Since.Truncate(time.Second)
	cs, err := e.client()
	if err != nil {
		return err
	}
	lw := cache.NewListWatchFromClient(cs.CoreV1().RESTClient(), "nodes", "", fields.OneTermEqualSelector("metadata.name", network.NodeName))
	_, err = watchtools.UntilWithSync(ctx, lw, &corev1.Node{}, nil, func(ev watch.Event) (bool, error) {
		node, ok := ev.Object.(*corev1.Node)
		if !ok || ev.Type == watch.Deleted {
			return false, nil
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionTrue && !c.LastHeartbeatTime.Time.Before(since), nil
			}
		}
		return false, nil
	})
	if err == nil {
		err = waitPodsKnown(ctx, cs)
	}
	if err != nil {
		return fmt.Errorf("waiting for the node: %w", err)
	}
	return nil
}

// client is the engine's own of the API server.
func (e *engine) client() (kubernetes.Interface, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", e.dir.Kubeconfig())
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

// waitPodsKnown returns when the kubelet knows the pods that went on while it
// was away: before that, their logs cannot be had.
func waitPodsKnown(ctx context.Context, cs kubernetes.Interface) error {
	pods, err := cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + network.NodeName + ",status.phase=Running"})
	if err != nil || len(pods.Items) == 0 {
		return err
	}
	// The kubelet has no event for this; it is asked, for the second that it takes.
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		var known corev1.PodList
		err := cs.CoreV1().RESTClient().Get().Resource("nodes").Name(network.NodeName).SubResource("proxy").Suffix("pods").Do(ctx).Into(&known)
		if err == nil && knowsAll(known.Items, pods.Items) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func knowsAll(known, wanted []corev1.Pod) bool {
	uids := map[types.UID]bool{}
	for _, p := range known {
		uids[p.UID] = true
	}
	for _, p := range wanted {
		if !uids[p.UID] {
			return false
		}
	}
	return true
}
