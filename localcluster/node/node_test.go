package node

import (
	"testing"

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
