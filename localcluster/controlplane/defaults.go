package controlplane

import (
	"context"
	"fmt"
	"os"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacapply "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/node/localpath"
	"github.com/mlstudio/studio/localcluster/node/metrics"
	"github.com/mlstudio/studio/localcluster/node/netpolicy"
	"github.com/mlstudio/studio/localcluster/node/resize"
	"github.com/mlstudio/studio/localcluster/node/services"
)

// nodeServicesRole is what the node half may do beside the kubelet: provision
// local volumes, carry Services and answer DNS. The kubelet itself has its own identity and the Node authorizer.
const nodeServicesRole = "studio:node-services"

func nodeServicesRules() []*rbacapply.PolicyRuleApplyConfiguration {
	rule := func(group string, resources []string, verbs ...string) *rbacapply.PolicyRuleApplyConfiguration {
		return rbacapply.PolicyRule().WithAPIGroups(group).WithResources(resources...).WithVerbs(verbs...)
	}
	return []*rbacapply.PolicyRuleApplyConfiguration{
		rule("", []string{"persistentvolumes"}, "get", "list", "watch", "create", "patch", "update", "delete"),
		rule("", []string{"persistentvolumeclaims"}, "get", "list", "watch", "update"),
		rule("", []string{"nodes"}, "get"),
		rule("", []string{"events"}, "create", "patch", "update"),
		rule("events.k8s.io", []string{"events"}, "create", "patch", "update"),
		rule("", []string{"services", "namespaces"}, "get", "list", "watch"),
		rule("discovery.k8s.io", []string{"endpointslices"}, "list", "watch"),
		rule("networking.k8s.io", []string{"servicecidrs", "networkpolicies"}, "list", "watch"),
		rule("storage.k8s.io", []string{"storageclasses"}, "get", "list", "watch"),
	}
}

// makeDefaults makes what the cluster needs before its first user comes: the
// node's role and Services, put right again if they were changed, and a storage class.
func makeDefaults(ctx context.Context, cs kubernetes.Interface, n network.Network) error {
	apply := metav1.ApplyOptions{FieldManager: "studiod", Force: true}
	if _, err := cs.RbacV1().ClusterRoles().Apply(ctx, rbacapply.ClusterRole(nodeServicesRole).WithRules(nodeServicesRules()...), apply); err != nil {
		return fmt.Errorf("granting the node its role: %w", err)
	}
	binding := rbacapply.ClusterRoleBinding(nodeServicesRole).
		WithRoleRef(rbacapply.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(nodeServicesRole)).
		WithSubjects(rbacapply.Subject().WithAPIGroup(rbacv1.GroupName).WithKind(rbacv1.GroupKind).WithName(nodeServicesRole))
	if _, err := cs.RbacV1().ClusterRoleBindings().Apply(ctx, binding, apply); err != nil {
		return fmt.Errorf("granting the node its role: %w", err)
	}
	if err := services.Ensure(ctx, cs, n); err != nil {
		return err
	}
	if err := localpath.EnsureClass(ctx, cs); err != nil {
		return err
	}
	if err := netpolicy.Warn(ctx, cs); err != nil {
		return err
	}
	return resize.Refuse(ctx, cs)
}

// registerMetrics registers the API that the node serves.
func registerMetrics(ctx context.Context, f files) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", f.controllerKubeconfig())
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(f.pki("ca.crt"))
	if err != nil {
		return err
	}
	return metrics.Ensure(ctx, cfg, authority)
}

// client speaks as the controllers do.
func (f files) client() (kubernetes.Interface, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", f.controllerKubeconfig())
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}
