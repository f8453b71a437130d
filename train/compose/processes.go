package compose

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// processes is the number of processes on a node, in torchrun's words: the
// TrainJob's number; "auto" (torchrun counts devices) where there are GPUs; else
// one for each CPU that the container asks for.
func processes(t *v1alpha1.Trainer, composed corev1.ResourceRequirements) string {
	if t != nil && t.NumProcPerNode != nil {
		return strconv.Itoa(int(*t.NumProcPerNode))
	}
	// What the TrainJob asks for stands alone here, without what the runtime adds.
	res := composed
	if t != nil && t.ResourcesPerNode != nil {
		res = *t.ResourcesPerNode
	}
	if hasGPU(res.Requests) || hasGPU(res.Limits) {
		return "auto"
	}
	for _, list := range []corev1.ResourceList{res.Requests, res.Limits} {
		if q, ok := list[corev1.ResourceCPU]; ok {
			return strconv.FormatInt(wholeCPUs(q), 10)
		}
	}
	return "1"
}

// hasGPU also takes slices of a GPU (MIG) for GPUs.
func hasGPU(list corev1.ResourceList) bool {
	for name, q := range list {
		n := strings.ToLower(string(name))
		if !q.IsZero() && slices.ContainsFunc([]string{"gpu", "/mig-"}, func(s string) bool { return strings.Contains(n, s) }) {
			return true
		}
	}
	return false
}

// wholeCPUs rounds up to at least one.
func wholeCPUs(q resource.Quantity) int64 { return max(q.Value(), 1) }
