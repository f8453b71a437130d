package kubelet

import (
	"net/netip"
	"testing"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/machine"
	"github.com/mlstudio/studio/localcluster/network"
)

func TestSettings(t *testing.T) {
	n := network.Network{
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), APIAddress: netip.MustParseAddr(network.APIAddress),
	}
	s, err := settings(Config{Dir: datadir.Dir("/d"), Net: n, Share: machine.Share{ReservedCPU: 800, ReservedMemory: 4 << 30}, Labels: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	kc := &s.KubeletConfiguration
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(kc.FeatureGates); err != nil {
		t.Fatal(err)
	}
	if err := validation.ValidateKubeletConfiguration(kc, utilfeature.DefaultFeatureGate); err != nil {
		t.Fatal(err)
	}
	// What a laptop must never do: trust whoever reaches the port, evict by
	// shares of its disk, or write to the machine's firewall.
	if kc.Authentication.Anonymous.Enabled || kc.ReadOnlyPort != 0 || kc.Authorization.Mode != "Webhook" {
		t.Error("the kubelet's port is open")
	}
	for signal, value := range kc.EvictionHard {
		if value[len(value)-1] == '%' {
			t.Errorf("eviction by a share: %s %s", signal, value)
		}
	}
	if kc.SystemReserved["cpu"] != "800m" || kc.SystemReserved["memory"] != "4294967296" {
		t.Errorf("the desktop keeps %v", kc.SystemReserved)
	}
	if kc.MakeIPTablesUtilChains {
		t.Error("the kubelet writes firewall rules")
	}
	if s.NodeIP != "10.244.0.1" || kc.ClusterDNS[0] != "10.96.0.10" {
		t.Errorf("node %s, DNS %v", s.NodeIP, kc.ClusterDNS)
	}
}
