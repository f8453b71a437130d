package apply

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mlstudio/studio/project/manifests"
	"github.com/mlstudio/studio/project/problem"
)

// kubeflow are kinds of Kubeflow and its companions by group, with the plural
// that names their CRD. A kind that the platform has is found before this is read.
var kubeflow = map[string]map[string]string{
	"kubeflow.org": {"Notebook": "notebooks", "PyTorchJob": "pytorchjobs", "TFJob": "tfjobs", "MPIJob": "mpijobs", "XGBoostJob": "xgboostjobs",
		"JAXJob": "jaxjobs", "PaddleJob": "paddlejobs", "Experiment": "experiments", "Trial": "trials", "Suggestion": "suggestions",
		"Profile": "profiles", "PodDefault": "poddefaults", "ScheduledWorkflow": "scheduledworkflows", "Viewer": "viewers"},
	"trainer.kubeflow.org": {"TrainJob": "trainjobs", "TrainingRuntime": "trainingruntimes", "ClusterTrainingRuntime": "clustertrainingruntimes",
		"OptimizationJob": "optimizationjobs"},
	"pipelines.kubeflow.org":   {"Pipeline": "pipelines", "PipelineVersion": "pipelineversions"},
	"tensorboard.kubeflow.org": {"Tensorboard": "tensorboards"},
	"jobset.x-k8s.io":          {"JobSet": "jobsets"},
	"argoproj.io": {"Workflow": "workflows", "WorkflowTemplate": "workflowtemplates", "ClusterWorkflowTemplate": "clusterworkflowtemplates",
		"CronWorkflow": "cronworkflows"},
	"serving.kserve.io": {"InferenceService": "inferenceservices", "ServingRuntime": "servingruntimes", "ClusterServingRuntime": "clusterservingruntimes",
		"InferenceGraph": "inferencegraphs", "LLMInferenceService": "llminferenceservices"},
	"serving.knative.dev": {"Service": "services"},
}

// unknown explains why the server has no such kind.
func (c *Client) unknown(o manifests.Object) problem.Problem {
	gvk := o.GroupVersionKind()
	if served := c.versions(gvk.GroupKind()); len(served) > 0 {
		return o.Problem("apiVersion", fmt.Sprintf("this cluster has %s, but not in version %s", gvk.Kind, gvk.Version),
			fmt.Sprintf("write apiVersion: %s", schema.GroupVersion{Group: gvk.Group, Version: served[0]}))
	}
	if plural, ok := kubeflow[gvk.Group][gvk.Kind]; ok {
		return o.Problem("kind", fmt.Sprintf("the CRD %s.%s is missing: this version of the platform does not have %s yet", plural, gvk.Group, gvk.Kind),
			"the manifest itself may well be right: a Kubeflow cluster runs it; `studio version` shows what you have")
	}
	known := c.kindsLike(gvk)
	if !strings.Contains(gvk.Group, ".") { // Kubernetes' own groups have no CRDs
		message := fmt.Sprintf("Kubernetes has no kind %s in %s", gvk.Kind, gvk.GroupVersion())
		if known != "" {
			return o.Problem("kind", message, "did you mean "+known+"?")
		}
		return o.Problem("kind", message, "check kind and apiVersion; `kubectl api-resources` lists what there is")
	}
	message := fmt.Sprintf("the CRD of %s is missing (%s.%s)", gvk.Kind, plural(gvk.Kind), gvk.Group)
	if known != "" {
		return o.Problem("kind", message, "did you mean "+known+"?")
	}
	return o.Problem("kind", message, "apply the CRD first, or put it into the same folder")
}

// plural guesses a CRD's name as most projects form it.
func plural(kind string) string {
	k := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(k, "s"), strings.HasSuffix(k, "x"), strings.HasSuffix(k, "ch"), strings.HasSuffix(k, "sh"):
		return k + "es"
	case strings.HasSuffix(k, "y") && len(k) > 1 && !strings.ContainsRune("aeiou", rune(k[len(k)-2])):
		return k[:len(k)-1] + "ies"
	}
	return k + "s"
}

// versions in which the server has a kind, preferred first.
func (c *Client) versions(gk schema.GroupKind) []string {
	all, err := c.mapper.RESTMappings(gk)
	if err != nil {
		return nil
	}
	var out []string
	for _, m := range all {
		out = append(out, m.GroupVersionKind.Version)
	}
	return out
}

// kindsLike finds a kind that may have been meant: the same kind in another
// group, or one spelt nearly the same.
func (c *Client) kindsLike(gvk schema.GroupVersionKind) string {
	var names []string
	for _, groups := range append(slices.Collect(maps.Values(kubeflow)), builtin) {
		for kind := range groups {
			names = append(names, kind)
		}
	}
	slices.Sort(names)
	near := problem.Nearest(gvk.Kind, names)
	if near == "" {
		return ""
	}
	for group, kinds := range kubeflow {
		if kinds[near] != "" {
			if m, err := c.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: near}); err == nil {
				return near + " of " + m.GroupVersionKind.GroupVersion().String()
			}
		}
	}
	if gv := builtin[near]; gv != "" {
		return near + " of " + gv
	}
	return ""
}

// builtin are the kinds of Kubernetes that people write most.
var builtin = map[string]string{"Pod": "v1", "Service": "v1", "ConfigMap": "v1", "Secret": "v1", "PersistentVolumeClaim": "v1", "Namespace": "v1",
	"ServiceAccount": "v1", "Job": "batch/v1", "CronJob": "batch/v1", "Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1",
	"Role": "rbac.authorization.k8s.io/v1", "RoleBinding": "rbac.authorization.k8s.io/v1", "Ingress": "networking.k8s.io/v1"}

func isUnknownKind(err error) bool { return meta.IsNoMatchError(err) }
