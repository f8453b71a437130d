package platform

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/mlstudio/studio/platform/pillar"
)

// newScheme knows the built-in groups that the platform uses and the pillars' own.
func newScheme(pillars []pillar.Pillar) (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	add := []func(*runtime.Scheme) error{
		corev1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme,
		admissionregistrationv1.AddToScheme, apiextensionsv1.AddToScheme,
	}
	for _, p := range pillars {
		add = append(add, p.AddToScheme)
	}
	for _, f := range add {
		if err := f(s); err != nil {
			return nil, err
		}
	}
	metav1.AddMetaToScheme(s)
	return s, nil
}

// clusterScoped are the kinds without a namespace.
var clusterScoped = map[string]bool{
	"Namespace": true, "Node": true, "PersistentVolume": true,
	"ClusterRole": true, "ClusterRoleBinding": true, "CustomResourceDefinition": true,
	"ValidatingAdmissionPolicy": true, "ValidatingAdmissionPolicyBinding": true,
	"MutatingAdmissionPolicy": true, "MutatingAdmissionPolicyBinding": true,
	"ValidatingWebhookConfiguration": true, "MutatingWebhookConfiguration": true,
	"ClusterTrainingRuntime": true,
}

// newMapper knows resources without asking the API server: discovery lags behind
// a new CRD, costs a request a group, and can tell nothing that a program with
// compiled-in kinds does not know.
func newMapper(s *runtime.Scheme) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(s.PrioritizedVersionsAllGroups())
	for gvk := range s.AllKnownTypes() {
		scope := meta.RESTScope(meta.RESTScopeNamespace)
		if clusterScoped[gvk.Kind] {
			scope = meta.RESTScopeRoot
		}
		m.Add(gvk, scope)
	}
	return m
}
