package network

import (
	"bufio"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/mlstudio/studio/localcluster/datadir"
)

func TestChooseAvoidsRoutes(t *testing.T) {
	for _, tc := range []struct {
		name string
		used []string
		pod  string
		fail bool
	}{
		{"nothing used", nil, "10.244.0.0/16", false},
		{"pod range inside a VPN", []string{"10.0.0.0/8"}, "172.30.0.0/16", false},
		{"service range only", []string{"10.96.3.0/24"}, "10.190.0.0/16", false},
		{"everything used", []string{"0.0.0.0/1", "128.0.0.0/1"}, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var used []netip.Prefix
			for _, u := range tc.used {
				used = append(used, netip.MustParsePrefix(u))
			}
			n, err := Choose(used)
			if (err != nil) != tc.fail {
				t.Fatalf("error %v, want one: %v", err, tc.fail)
			}
			if !tc.fail && n.PodCIDR.String() != tc.pod {
				t.Errorf("pod range %s, want %s", n.PodCIDR, tc.pod)
			}
		})
	}
}

func TestParseRoutes(t *testing.T) {
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0101A8C0	0003	0	0	100	00000000	0	0	0
eth0	0001A8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
tun0	0000F40A	00000000	0001	0	0	0	0000FFFF	0	0	0
`
	got, err := parseRoutes(bufio.NewScanner(strings.NewReader(table)))
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("10.244.0.0/16")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("routes %v, want %v", got, want)
	}
}

func TestEnsureKeepsTheChoice(t *testing.T) {
	d := datadir.Dir(t.TempDir())
	first, err := Ensure(d)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Ensure(d)
	if err != nil || again != first {
		t.Fatalf("second time %v, %v; want %v", again, err, first)
	}
	if got := first.DNS().String(); !strings.HasSuffix(got, ".10") {
		t.Errorf("DNS address %s, want the tenth", got)
	}
}
