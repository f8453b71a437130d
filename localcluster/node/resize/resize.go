// Package resize refuses what the embedded node cannot do: changing the
// resources of a running pod. Its kubelet runs without cgroups of its own, and
// upstream's then ends with a nil pointer on the first such change, at each
// start anew.
package resize

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apply "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"
)

// policy is the name of the policy and of its binding.
const policy = "studio-no-pod-resize"

// message is what kubectl prints.
const message = "pods on Studio's embedded node keep the resources they started with; delete the pod and create it with the new ones"

// Refuse makes the policy, or puts it right again.
func Refuse(ctx context.Context, cs kubernetes.Interface) error {
	rule := apply.NamedRuleWithOperations().
		WithOperations(admissionv1.Create, admissionv1.Update).
		WithAPIGroups("").WithAPIVersions("v1").WithResources("pods/resize")
	spec := apply.ValidatingAdmissionPolicySpec().
		WithFailurePolicy(admissionv1.Fail).
		WithMatchConstraints(apply.MatchResources().WithResourceRules(rule)).
		WithValidations(apply.Validation().WithExpression("false").WithMessage(message).WithReason(metav1.StatusReasonForbidden))
	options := metav1.ApplyOptions{FieldManager: "studiod", Force: true}
	v1 := cs.AdmissionregistrationV1()
	if _, err := v1.ValidatingAdmissionPolicies().Apply(ctx, apply.ValidatingAdmissionPolicy(policy).WithSpec(spec), options); err != nil {
		return fmt.Errorf("refusing to resize pods: %w", err)
	}
	binding := apply.ValidatingAdmissionPolicyBinding(policy).WithSpec(apply.ValidatingAdmissionPolicyBindingSpec().
		WithPolicyName(policy).WithValidationActions(admissionv1.Deny))
	if _, err := v1.ValidatingAdmissionPolicyBindings().Apply(ctx, binding, options); err != nil {
		return fmt.Errorf("refusing to resize pods: %w", err)
	}
	return nil
}
