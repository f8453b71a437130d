package metrics

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	rbacapply "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
)

// Service is the name of the Service in kube-system, as clusters with upstream's
// server have it, and HostName the one that its certificate is for.
const (
	Service  = "metrics-server"
	HostName = Service + "." + metav1.NamespaceSystem + ".svc"
)

// reader lets the roles view, edit and admin read metrics.
const reader = "system:aggregated-metrics-reader"

// Ensure registers the API with the API server, or puts that right again. The
// authority is the one that signed the certificate, PEM encoded.
func Ensure(ctx context.Context, cfg *rest.Config, authority []byte) error {
	apis, err := aggregator.NewForConfig(cfg)
	if err != nil {
		return err
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	port := int32(443)
	service := apiregistration.APIService{
		TypeMeta:   metav1.TypeMeta{Kind: "APIService", APIVersion: apiregistration.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{Name: group.Version + "." + group.Group},
		Spec: apiregistration.APIServiceSpec{
			Group: group.Group, Version: group.Version, GroupPriorityMinimum: 100, VersionPriority: 100, CABundle: authority,
			Service: &apiregistration.ServiceReference{Namespace: metav1.NamespaceSystem, Name: Service, Port: &port},
		},
	}
	raw, err := json.Marshal(service)
	if err != nil {
		return err
	}
	force := true
	options := metav1.PatchOptions{FieldManager: "studiod", Force: &force}
	if _, err := apis.ApiregistrationV1().APIServices().Patch(ctx, service.Name, types.ApplyPatchType, raw, options); err != nil {
		return fmt.Errorf("registering the API %s: %w", group, err)
	}
	role := rbacapply.ClusterRole(reader).
		WithLabels(map[string]string{
			"rbac.authorization.k8s.io/aggregate-to-view": "true", "rbac.authorization.k8s.io/aggregate-to-edit": "true", "rbac.authorization.k8s.io/aggregate-to-admin": "true",
		}).
		WithRules(rbacapply.PolicyRule().WithAPIGroups(group.Group).WithResources("pods", "nodes").WithVerbs("get", "list"))
	if _, err := cs.RbacV1().ClusterRoles().Apply(ctx, role, metav1.ApplyOptions{FieldManager: "studiod", Force: true}); err != nil {
		return fmt.Errorf("letting users read metrics: %w", err)
	}
	return nil
}
