package compose

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// mergeEnv lets later variables win over earlier ones of the same name. A variable
// keeps its place, since those after it may refer to it.
func mergeEnv(base []corev1.EnvVar, over ...[]corev1.EnvVar) []corev1.EnvVar {
	merged := slices.Clone(base)
	for _, list := range over {
		for _, v := range list {
			if i := slices.IndexFunc(merged, func(e corev1.EnvVar) bool { return e.Name == v.Name }); i >= 0 {
				merged[i] = v
			} else {
				merged = append(merged, v)
			}
		}
	}
	return merged
}

// mergeResources lets the quantities of over win, resource by resource.
func mergeResources(base, over corev1.ResourceList) corev1.ResourceList {
	if len(over) == 0 {
		return base
	}
	merged := maps.Clone(base)
	if merged == nil {
		merged = corev1.ResourceList{}
	}
	maps.Copy(merged, over)
	return merged
}
