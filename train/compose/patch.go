package compose

import (
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/strategicpatch"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// patched applies the patches in their order to a copy of the template. The order
// of the replicated jobs stays the runtime's.
func patched(template v1alpha1.JobSetTemplateSpec, patches []v1alpha1.RuntimePatch) (*v1alpha1.JobSetTemplateSpec, error) {
	out := template.DeepCopy()
	for _, p := range patches {
		if p.TrainingRuntimeSpec == nil || p.TrainingRuntimeSpec.Template == nil {
			continue
		}
		next, err := patchOne(out, p.TrainingRuntimeSpec.Template)
		if err != nil {
			return nil, fmt.Errorf("applying the runtime patch of %s: %w", p.Manager, err)
		}
		out = next
	}
	place := map[string]int{}
	for i, r := range template.Spec.ReplicatedJobs {
		place[r.Name] = i
	}
	slices.SortStableFunc(out.Spec.ReplicatedJobs, func(a, b jobsetv1alpha2.ReplicatedJob) int { return place[a.Name] - place[b.Name] })
	return out, nil
}

func patchOne(template *v1alpha1.JobSetTemplateSpec, patch *v1alpha1.JobSetTemplatePatch) (*v1alpha1.JobSetTemplateSpec, error) {
	base, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	change, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergePatch(base, change, v1alpha1.JobSetTemplateSpec{})
	if err != nil {
		return nil, err
	}
	out := &v1alpha1.JobSetTemplateSpec{}
	return out, json.Unmarshal(merged, out)
}
