package hostrt

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The kubelet of 1.37 takes a STOPPED event as a hint to look at the pod, and a
// pod worker may have looked just before it; then it looks again only after a
// second. So the event is repeated until the kubelet has stopped the sandbox.
// The first repetitions come when the pod worker has just taken in the event
// itself, the others in case it was slower.
var repeats = []time.Duration{2 * time.Millisecond, 5 * time.Millisecond, 12 * time.Millisecond, 30 * time.Millisecond, 70 * time.Millisecond, 150 * time.Millisecond, 310 * time.Millisecond}

// repeatRate is the limit for all pods together: the kubelet's queue holds 200
// events, and what does not fit is dropped.
const (
	repeatRate  = 100
	repeatBurst = 50
)

// broadcaster passes container events to the kubelet.
type broadcaster struct {
	server  *Server
	limit   *rate.Limiter
	pending chan *container
	// queued holds the containers in pending, subs the open streams; both are
	// guarded by the server's lock.
	queued map[*container]bool
	subs   map[chan *rt.ContainerEventResponse]bool
}

func newBroadcaster(s *Server) *broadcaster {
	return &broadcaster{
		server: s, limit: rate.NewLimiter(repeatRate, repeatBurst), pending: make(chan *container, 4096),
		queued: map[*container]bool{}, subs: map[chan *rt.ContainerEventResponse]bool{},
	}
}

// run sends the repeated events until the context ends.
func (b *broadcaster) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-b.pending:
			b.server.mu.Lock()
			delete(b.queued, c)
			b.server.mu.Unlock()
			if !b.wanted(c) {
				continue
			}
			if err := b.limit.Wait(ctx); err != nil {
				return
			}
			if b.wanted(c) {
				b.send(c, rt.ContainerEventType_CONTAINER_STOPPED_EVENT)
			}
		}
	}
}

// wanted tells whether the kubelet has yet to act on the end of a container.
func (b *broadcaster) wanted(c *container) bool {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	return !c.pod.stopping && !c.removing
}

// stopped tells the end of a container, now and a few times more.
func (b *broadcaster) stopped(c *container) {
	b.send(c, rt.ContainerEventType_CONTAINER_STOPPED_EVENT)
	b.limit.Allow()
	for _, after := range repeats {
		// A timer, as the kubelet gives no sign when a pod worker has looked too early.
		time.AfterFunc(after, func() { b.repeat(c) })
	}
}

// looks is when the kubelet is asked to look once more at a pod whose sandbox it
// has stopped: it has done with the pod only after a look that began later, and
// would otherwise wait for the next second. The second is for a slow machine.
var looks = []time.Duration{15 * time.Millisecond, 100 * time.Millisecond}

// sandboxStopped asks for those looks, where the limit leaves room: they hurry
// no container.
func (b *broadcaster) sandboxStopped(c *container) {
	for _, after := range looks {
		// A timer, as the kubelet gives no sign when it has stored the pod's state.
		time.AfterFunc(after, func() {
			if b.limit.Allow() {
				b.send(c, rt.ContainerEventType_CONTAINER_STOPPED_EVENT)
			}
		})
	}
}

func (b *broadcaster) repeat(c *container) {
	if !b.wanted(c) {
		return
	}
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if b.queued[c] {
		return
	}
	select {
	case b.pending <- c:
		b.queued[c] = true
	default: // a later repetition finds room
	}
}

// send passes one event to every stream.
func (b *broadcaster) send(c *container, kind rt.ContainerEventType) {
	s := b.server
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &rt.ContainerEventResponse{
		ContainerId: c.id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano(),
		PodSandboxStatus: s.podStatus(c.pod), ContainersStatuses: s.containerStatuses(c.pod),
	}
	for ch := range b.subs {
		select {
		case ch <- e:
		default: // a kubelet this far behind sees the pod at its next full look
			s.log.Warn("the kubelet does not keep up with events")
		}
	}
}

// GetContainerEvents implements the CRI. The stream ends only with the kubelet
// or the runtime: the kubelet reconnects few times in its life.
func (s *Server) GetContainerEvents(_ *rt.GetEventsRequest, stream rt.RuntimeService_GetContainerEventsServer) error {
	ch := make(chan *rt.ContainerEventResponse, 1024)
	s.mu.Lock()
	s.events.subs[ch] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.events.subs, ch)
		s.mu.Unlock()
	}()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case e := <-ch:
			if err := stream.Send(e); err != nil {
				return err
			}
		}
	}
}
