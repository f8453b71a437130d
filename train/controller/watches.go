package controller

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/platform/pillar"
	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// reasonPodNotCreated is the Event of a Job that may not create its pods: a quota,
// a missing service account, a policy.
const reasonPodNotCreated = "FailedCreate"

// setup adds the controller with everything that may move a TrainJob on.
func setup(h pillar.Host) error {
	c := h.Manager.GetClient()
	r := &reconciler{client: c, live: h.Manager.GetAPIReader(), events: h.Events, memory: newMemory(), now: time.Now}
	started := time.Now()
	return ctrl.NewControllerManagedBy(h.Manager).
		For(&v1alpha1.TrainJob{}).
		Owns(&jobsetv1alpha2.JobSet{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(bySetName)).
		Watches(&v1alpha1.ClusterTrainingRuntime{}, waitingFor(c), builder.WithPredicates(created())).
		Watches(&v1alpha1.TrainingRuntime{}, waitingFor(c), builder.WithPredicates(created())).
		Watches(&corev1.Event{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) []ctrl.Request {
			if e, ok := obj.(*corev1.Event); ok && !e.LastTimestamp.Time.Before(started) {
				passOn(ctx, c, h, e)
			}
			return nil
		})).
		Complete(r)
}

// bySetName finds the TrainJob of a pod: JobSets are named like their TrainJobs.
func bySetName(_ context.Context, obj client.Object) []ctrl.Request {
	return []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetLabels()[jobsetv1alpha2.JobSetNameKey]}}}
}

// waitingFor finds the TrainJobs that may have waited for a runtime.
func waitingFor(c client.Reader) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, rt client.Object) []ctrl.Request {
		var list v1alpha1.TrainJobList
		// A cluster's runtime has no namespace and may be named in all of them.
		if err := c.List(ctx, &list, client.InNamespace(rt.GetNamespace())); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "listing the TrainJobs that wait for a runtime", "runtime", rt.GetName())
			return nil
		}
		var reqs []ctrl.Request
		for i := range list.Items {
			if tj := &list.Items[i]; tj.Spec.RuntimeRef.Name == rt.GetName() && !finished(tj) {
				reqs = append(reqs, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(tj)})
			}
		}
		return reqs
	})
}

func created() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// passOn says on the TrainJob what a Job of it says on itself, where clients of
// TrainJobs would never look.
func passOn(ctx context.Context, c client.Reader, h pillar.Host, e *corev1.Event) {
	var job batchv1.Job
	if err := c.Get(ctx, client.ObjectKey{Namespace: e.InvolvedObject.Namespace, Name: e.InvolvedObject.Name}, &job); err != nil {
		return
	}
	var tj v1alpha1.TrainJob
	if err := c.Get(ctx, client.ObjectKey{Namespace: job.Namespace, Name: job.Labels[jobsetv1alpha2.JobSetNameKey]}, &tj); err != nil {
		return
	}
	var js jobsetv1alpha2.JobSet
	if err := c.Get(ctx, client.ObjectKeyFromObject(&tj), &js); err != nil || !metav1.IsControlledBy(&job, &js) || !controls(&tj, &js) {
		return
	}
	h.Events.Eventf(&tj, corev1.EventTypeWarning, eventCreationFailed, "TrainJob resources reconciliation failed: Job %s can not create its pods: %s", job.Name, e.Message)
}
