// Package jobset serves the kind JobSet with upstream's own reconciler, used as a
// library. What upstream does in webhooks happens here too: defaults lie in the
// CRD's schema (see assets/generate) and, where a schema can not express them, are
// put into what the reconciler reads; validation runs before the first Job is
// made, and its verdict becomes a condition and an Event of the JobSet.
package jobset

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/jobset/pkg/controllers"

	"github.com/mlstudio/studio/platform/events"
	"github.com/mlstudio/studio/platform/pillar"
)

// ReasonInvalid is the reason of the Failed condition of a JobSet that upstream's
// webhook would have refused.
const ReasonInvalid = "Invalid"

// Setup adds the controller.
func Setup(ctx context.Context, h pillar.Host) error {
	if err := controllers.SetupJobSetIndexes(ctx, h.Manager.GetFieldIndexer()); err != nil {
		return fmt.Errorf("indexing Jobs: %w", err)
	}
	admit, err := newAdmission(h.Manager)
	if err != nil {
		return err
	}
	c := defaulting{h.Manager.GetClient()}
	r := &reconciler{
		client: c, events: h.Events, admit: admit,
		upstream: controllers.NewJobSetReconciler(c, h.Manager.GetScheme(), events.Newer(h.Events)),
	}
	return ctrl.NewControllerManagedBy(h.Manager).
		For(&jobsetv1alpha2.JobSet{}).
		Owns(&batchv1.Job{}).
		Owns(&corev1.Service{}).
		Complete(r)
}

// reconciler puts validation before upstream's.
type reconciler struct {
	client   client.Client
	events   record.EventRecorder
	admit    *admission
	upstream reconcile.Reconciler
}

// Reconcile hands valid JobSets on and ends the others.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var js jobsetv1alpha2.JobSet
	if err := r.client.Get(ctx, req.NamespacedName, &js); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	first := len(js.Status.ReplicatedJobsStatus) == 0 && len(js.Status.Conditions) == 0
	if !first || js.DeletionTimestamp != nil || !ours(&js) {
		return r.handOn(ctx, req)
	}
	if _, exclusive := js.Annotations[jobsetv1alpha2.ExclusiveKey]; exclusive {
		r.events.Event(&js, corev1.EventTypeWarning, "NotSupported",
			"the annotation "+jobsetv1alpha2.ExclusiveKey+" is not honoured here: Jobs of other JobSets may share the topology domain")
	}
	if err := r.admit.validate(ctx, &js); err != nil {
		return ctrl.Result{}, r.refuse(ctx, &js, err)
	}
	return r.handOn(ctx, req)
}

// handOn lets upstream reconcile. A conflict means that a newer state is on its
// way here already.
func (r *reconciler) handOn(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	res, err := r.upstream.Reconcile(ctx, req)
	if apierrors.IsConflict(err) {
		return ctrl.Result{}, nil
	}
	return res, err
}

// refuse ends a JobSet that can not run.
func (r *reconciler) refuse(ctx context.Context, js *jobsetv1alpha2.JobSet, why error) error {
	r.events.Event(js, corev1.EventTypeWarning, ReasonInvalid, why.Error())
	meta.SetStatusCondition(&js.Status.Conditions, metav1.Condition{
		Type: string(jobsetv1alpha2.JobSetFailed), Status: metav1.ConditionTrue, Reason: ReasonInvalid, Message: why.Error(),
	})
	js.Status.TerminalState = string(jobsetv1alpha2.JobSetFailed)
	return r.client.Status().Update(ctx, js)
}

func ours(js *jobsetv1alpha2.JobSet) bool {
	return js.Spec.ManagedBy == nil || *js.Spec.ManagedBy == jobsetv1alpha2.JobSetControllerName
}

// defaulting is a client whose JobSets carry the defaults that a schema can not
// express: the names of failure rules, which count them.
type defaulting struct{ client.Client }

// Get completes what it reads.
func (d defaulting) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if err := d.Client.Get(ctx, key, obj, opts...); err != nil {
		return err
	}
	if js, ok := obj.(*jobsetv1alpha2.JobSet); ok && js.Spec.FailurePolicy != nil {
		for i := range js.Spec.FailurePolicy.Rules {
			if rule := &js.Spec.FailurePolicy.Rules[i]; rule.Name == "" {
				rule.Name = fmt.Sprintf("failurePolicyRule%d", i)
			}
		}
	}
	return nil
}
