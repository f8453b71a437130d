package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// Reasons of Events on a TrainJob.
const (
	eventCreationFailed = "TrainJobResourcesCreationFailed"
	eventIgnored        = "FieldIgnored"
	eventDeprecated     = "RuntimeDeprecated"
	eventJobSet         = "JobSetApplied"
	eventRestarted      = "ContainerRestarted"
	eventPodLost        = "PodLost"
	eventQueued         = "WaitingForQueue"
)

// reconciler moves one TrainJob on.
type reconciler struct {
	client client.Client
	// live reads past the cache.
	live   client.Reader
	events record.EventRecorder
	memory *memory
	now    func() time.Time
}

// Reconcile compares what is with what should be and does the next thing.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	tj := &v1alpha1.TrainJob{}
	if err := r.client.Get(ctx, req.NamespacedName, tj); err != nil {
		if apierrors.IsNotFound(err) {
			r.memory.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if tj.DeletionTimestamp != nil || managedElsewhere(tj) {
		return ctrl.Result{}, nil
	}
	js, err := r.jobSet(ctx, tj)
	if err != nil {
		return after(0, r.report(tj, err))
	}
	if finished(tj) {
		return after(0, r.afterEnd(ctx, tj, js))
	}
	before := tj.Status.DeepCopy()
	again, err := r.advance(ctx, tj, js)
	if err != nil {
		err = r.report(tj, err)
	}
	if !equality.Semantic.DeepEqual(before, &tj.Status) {
		if e := r.client.Status().Update(ctx, tj); e != nil {
			return after(again, client.IgnoreNotFound(e))
		}
		r.announce(tj, before)
	}
	return after(again, err)
}

// errFormer: something of a deleted TrainJob of the same name is still there.
var errFormer = errors.New("what belonged to a former TrainJob of this name is being removed")

// after is the result of a reconciliation. A conflict means that a newer state is
// on its way here already. What belonged to a namesake goes without an event that
// comes here, so it is looked for again soon.
func after(again time.Duration, err error) (ctrl.Result, error) {
	switch {
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: again}, nil
	case errors.Is(err, errFormer):
		return ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// advance brings the JobSet into being and the status up to date. It returns
// after which time it must be called again although nothing has changed.
func (r *reconciler) advance(ctx context.Context, tj *v1alpha1.TrainJob, js *jobsetv1alpha2.JobSet) (time.Duration, error) {
	left, limited := r.untilDeadline(tj)
	if limited && left <= 0 {
		setFailed(tj, v1alpha1.ReasonDeadlineExceeded, "TrainJob exceeded its active deadline")
		return 0, nil
	}
	if js == nil || suspended(tj) || suspendedSet(js) {
		next, err := r.makeJobSet(ctx, tj, js)
		if err != nil || finished(tj) {
			return left, err
		}
		js = next
	}
	if js != nil {
		if err := r.follow(ctx, tj, js); err != nil {
			return left, err
		}
		if !finished(tj) {
			takeStatus(tj, js, r.memory.failure(tj))
		}
	}
	return left, nil
}

// jobSet returns the TrainJob's JobSet, nil if there is none.
func (r *reconciler) jobSet(ctx context.Context, tj *v1alpha1.TrainJob) (*jobsetv1alpha2.JobSet, error) {
	js := &jobsetv1alpha2.JobSet{}
	err := r.client.Get(ctx, client.ObjectKeyFromObject(tj), js)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("looking for the JobSet: %w", err)
	case former(tj, js):
		return nil, errFormer
	case !controls(tj, js):
		return nil, fmt.Errorf("JobSet %s exists and does not belong to this TrainJob; delete it or choose another name", js.Name)
	}
	return js, nil
}

// afterEnd removes what must not go on: the JobSet of a TrainJob that was given up
// while its pods still were there. Not before the end is written down: a JobSet
// that is gone without it would be made anew.
func (r *reconciler) afterEnd(ctx context.Context, tj *v1alpha1.TrainJob, js *jobsetv1alpha2.JobSet) error {
	r.memory.forget(client.ObjectKeyFromObject(tj))
	if c := meta.FindStatusCondition(tj.Status.Conditions, v1alpha1.ConditionFailed); c != nil &&
		(c.Reason == v1alpha1.ReasonDeadlineExceeded || c.Reason == v1alpha1.ReasonCannotStart) {
		return r.deleteJobSet(ctx, js)
	}
	return nil
}

func (r *reconciler) deleteJobSet(ctx context.Context, js *jobsetv1alpha2.JobSet) error {
	if js == nil || js.DeletionTimestamp != nil {
		return nil
	}
	if err := r.client.Delete(ctx, js, client.PropagationPolicy("Background")); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting the JobSet: %w", err)
	}
	return nil
}

// report says on the TrainJob what keeps it from going on. Conflicts pass by
// themselves and are nobody's concern.
func (r *reconciler) report(tj *v1alpha1.TrainJob, err error) error {
	if apierrors.IsConflict(err) || errors.Is(err, errFormer) {
		return err
	}
	r.events.Event(tj, corev1.EventTypeWarning, eventCreationFailed, "TrainJob resources reconciliation failed: "+err.Error())
	return err
}

// untilDeadline is how long the TrainJob may still run. The clock starts at its
// creation or last resume and stands still while it is suspended.
func (r *reconciler) untilDeadline(tj *v1alpha1.TrainJob) (left time.Duration, limited bool) {
	if tj.Spec.ActiveDeadlineSeconds == nil || suspended(tj) {
		return 0, false
	}
	start := tj.CreationTimestamp.Time
	if c := meta.FindStatusCondition(tj.Status.Conditions, v1alpha1.ConditionSuspended); c != nil {
		if c.Status == "True" {
			// It is being resumed right now.
			return time.Duration(*tj.Spec.ActiveDeadlineSeconds) * time.Second, true
		}
		start = c.LastTransitionTime.Time
	}
	return start.Add(time.Duration(*tj.Spec.ActiveDeadlineSeconds) * time.Second).Sub(r.now()), true
}

// former tells whether obj belongs to a deleted TrainJob of the same name.
func former(tj *v1alpha1.TrainJob, obj client.Object) bool {
	owner := metav1.GetControllerOf(obj)
	return owner != nil && owner.Kind == v1alpha1.TrainJobKind && owner.Name == tj.Name && owner.UID != tj.UID
}

func managedElsewhere(tj *v1alpha1.TrainJob) bool {
	return tj.Spec.ManagedBy != nil && *tj.Spec.ManagedBy != v1alpha1.ManagedByTrainer
}

func suspended(tj *v1alpha1.TrainJob) bool { return tj.Spec.Suspend != nil && *tj.Spec.Suspend }

func suspendedSet(js *jobsetv1alpha2.JobSet) bool { return js.Spec.Suspend != nil && *js.Spec.Suspend }

func finished(tj *v1alpha1.TrainJob) bool {
	return meta.IsStatusConditionTrue(tj.Status.Conditions, v1alpha1.ConditionComplete) ||
		meta.IsStatusConditionTrue(tj.Status.Conditions, v1alpha1.ConditionFailed)
}
