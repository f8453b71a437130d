// Package netpolicy says what the embedded node does not do: it enforces no
// NetworkPolicy. All pods belong to one person, on one machine; a policy that
// is applied is kept for the cluster to which it is promoted. Nobody shall
// believe in a wall that is not there: the API server warns who applies one, an
// Event lies on each, and status and doctor count them.
package netpolicy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apply "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// name of the policy and of its binding.
	name = "studio-network-policies"
	// Reason of the Events.
	Reason = "NotEnforced"
	// message is what kubectl prints and what the Events say.
	message = "Studio's embedded node enforces no NetworkPolicy: every pod reaches every other; it is kept for a cluster whose network enforces it"
)

// Warn makes the API server warn who applies a NetworkPolicy, or puts that right again.
func Warn(ctx context.Context, cs kubernetes.Interface) error {
	rule := apply.NamedRuleWithOperations().
		WithOperations(admissionv1.Create, admissionv1.Update).
		WithAPIGroups(networkingv1.GroupName).WithAPIVersions("v1").WithResources("networkpolicies")
	spec := apply.ValidatingAdmissionPolicySpec().
		WithFailurePolicy(admissionv1.Ignore).
		WithMatchConstraints(apply.MatchResources().WithResourceRules(rule)).
		WithValidations(apply.Validation().WithExpression("false").WithMessage(message))
	options := metav1.ApplyOptions{FieldManager: "studiod", Force: true}
	v1 := cs.AdmissionregistrationV1()
	if _, err := v1.ValidatingAdmissionPolicies().Apply(ctx, apply.ValidatingAdmissionPolicy(name).WithSpec(spec), options); err != nil {
		return fmt.Errorf("warning of network policies: %w", err)
	}
	binding := apply.ValidatingAdmissionPolicyBinding(name).WithSpec(apply.ValidatingAdmissionPolicyBindingSpec().
		WithPolicyName(name).WithValidationActions(admissionv1.Warn))
	if _, err := v1.ValidatingAdmissionPolicyBindings().Apply(ctx, binding, options); err != nil {
		return fmt.Errorf("warning of network policies: %w", err)
	}
	return nil
}

// Report calls warn for each NetworkPolicy that is there or comes, until ctx ends.
func Report(ctx context.Context, cs kubernetes.Interface, warn func(object runtime.Object, reason, message string)) error {
	factory := informers.NewSharedInformerFactory(cs, 0)
	_, err := factory.Networking().V1().NetworkPolicies().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		if p, ok := obj.(*networkingv1.NetworkPolicy); ok {
			warn(p, Reason, message)
		}
	}})
	if err != nil {
		return fmt.Errorf("watching network policies: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

// patience bounds the question of status and doctor to an API server that may be away.
const patience = 2 * time.Second

// Warning is a sentence on the policies of a running cluster, empty without any.
func Warning(ctx context.Context, kubeconfig string) (string, error) {
	if _, err := os.Stat(kubeconfig); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return "", err
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := cs.NetworkingV1().NetworkPolicies(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		return "", err
	}
	return sentence(list.Items), nil
}

// sentence names a few of the policies.
func sentence(all []networkingv1.NetworkPolicy) string {
	const most = 3
	var names []string
	for _, p := range all[:min(most, len(all))] {
		names = append(names, p.Namespace+"/"+p.Name)
	}
	if len(all) > most {
		names = append(names, fmt.Sprintf("%d more", len(all)-most))
	}
	return fmt.Sprintf("%d NetworkPolicies are not enforced on this node (%s): every pod reaches every other", len(all), strings.Join(names, ", "))
}
