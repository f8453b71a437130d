package node

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/mlstudio/studio/localcluster/datadir"
)

func TestAllowMount(t *testing.T) {
	d := datadir.Dir("/home/ann/.local/share/studio")
	allow := allowMount(d)
	for path, want := range map[string]bool{
		d.Kubelet() + "/pods/u1/volumes/kubernetes.io~empty-dir/x": true,
		d.Kubelet() + "/pods/u1/etc-hosts":                         true,
		d.Kubelet() + "/pods/u2/volumes/secret":                    false,
		d.Kubelet() + "/pods/u1/../u2/x":                           false,
		d.Kubelet():                                                false,
		d.Volumes() + "/default_data_pvc-1":                        true,
		d.Volumes():                                                false,
		d.Volumes() + "-other":                                     false,
		d.NodePKI() + "/kubelet.key":                               false,
		d.NodeKubeconfig():                                         false,
		d.Run():                                                    false,
		d.String():                                                 false,
		"/home/ann/.local":                                         false,
		"/home/ann":                                                false,
		"/":                                                        false,
		"/home/ann/.local/share/studio-other":                      true,
		"/data":                                                    true,
		"/usr/share/zoneinfo":                                      true,
	} {
		if err := allow(path, "u1"); (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", path, err, want)
		}
	}
}

func TestOtherIDs(t *testing.T) {
	id := func(n int64) *int64 { return &n }
	spec := &corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsUser: id(0), FSGroup: id(2000), SupplementalGroups: []int64{0, 7}},
		InitContainers:  []corev1.Container{{Name: "i", SecurityContext: &corev1.SecurityContext{RunAsGroup: id(5)}}},
		Containers:      []corev1.Container{{Name: "a"}, {Name: "b", SecurityContext: &corev1.SecurityContext{RunAsUser: id(1000)}}},
	}
	want := []string{"fsGroup: 2000", "supplementalGroups: 7", "runAsGroup of i: 5", "runAsUser of b: 1000"}
	if got := otherIDs(spec); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := otherIDs(&corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}); got != nil {
		t.Errorf("a pod that runs as root: %q", got)
	}
}
