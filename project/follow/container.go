package follow

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// instance is what a pod's status says of one container: which start of it is
// the last and how that stands.
type instance struct {
	// id of the last start; empty before the first.
	id string
	// ended: that start has exited.
	ended bool
	// before is the start before the last; empty without one.
	before string
	// final: the pod is over, so there will be no further start.
	final bool
}

func statuses(p *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses)
}

func view(p *corev1.Pod, s corev1.ContainerStatus) instance {
	v := instance{final: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed}
	if t := s.LastTerminationState.Terminated; t != nil {
		v.before = t.ContainerID
	}
	switch {
	case s.State.Running != nil:
		v.id = s.ContainerID
	case s.State.Terminated != nil:
		v.id, v.ended = s.State.Terminated.ContainerID, true
	default:
		// Waiting for its next start: the last one is the previous termination.
		v.id, v.ended, v.before = v.before, v.before != "", ""
	}
	return v
}

// exitCode is that of the container which failed first.
func exitCode(pods []corev1.Pod) int {
	var first *corev1.ContainerStateTerminated
	for i := range pods {
		for _, s := range statuses(&pods[i]) {
			for _, t := range []*corev1.ContainerStateTerminated{s.LastTerminationState.Terminated, s.State.Terminated} {
				if t != nil && t.ExitCode != 0 && (first == nil || t.FinishedAt.Before(&first.FinishedAt)) {
					first = t
				}
			}
		}
	}
	if first == nil {
		return 1
	}
	return exitStatus(first.ExitCode)
}

// exitStatus fits a code into what a process can end with, never to success.
func exitStatus(code int32) int {
	if s := int(code) & 0xff; s != 0 {
		return s
	}
	return 1
}

// short drops the address that a client's error starts with.
func short(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err
}

// since is the start of the second of a time, the finest that the log API takes.
func since(t time.Time) time.Time { return t.Truncate(time.Second) }
