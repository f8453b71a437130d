package compose

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

func TestProcesses(t *testing.T) {
	list := func(pairs ...string) corev1.ResourceList {
		l := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return l
	}
	res := func(requests, limits corev1.ResourceList) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: requests, Limits: limits}
	}
	for name, c := range map[string]struct {
		trainer *v1alpha1.Trainer
		runtime corev1.ResourceRequirements
		want    string
	}{
		"nothing known":              {want: "1"},
		"the TrainJob's number":      {trainer: &v1alpha1.Trainer{NumProcPerNode: new(int32(4))}, runtime: res(nil, list("nvidia.com/gpu", "8")), want: "4"},
		"GPUs of the runtime":        {runtime: res(nil, list("nvidia.com/gpu", "8")), want: "auto"},
		"a slice of a GPU":           {runtime: res(nil, list("nvidia.com/mig-1g.5gb", "1")), want: "auto"},
		"no GPU wanted":              {runtime: res(nil, list("nvidia.com/gpu", "0", "cpu", "2")), want: "2"},
		"CPU request before limit":   {runtime: res(list("cpu", "2"), list("cpu", "4")), want: "2"},
		"CPU limit":                  {runtime: res(nil, list("cpu", "4")), want: "4"},
		"rounded up":                 {runtime: res(list("cpu", "1500m"), nil), want: "2"},
		"at least one":               {runtime: res(list("cpu", "100m"), nil), want: "1"},
		"memory alone":               {runtime: res(list("memory", "1Gi"), nil), want: "1"},
		"the TrainJob's stand alone": {trainer: &v1alpha1.Trainer{ResourcesPerNode: new(res(list("cpu", "3"), nil))}, runtime: res(nil, list("nvidia.com/gpu", "8")), want: "3"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := processes(c.trainer, c.runtime); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
