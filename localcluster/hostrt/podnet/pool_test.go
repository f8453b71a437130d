package podnet

import (
	"net/netip"
	"testing"
)

func TestPool(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.0.0/29")
	gw := netip.MustParseAddr("10.0.0.1")
	p := NewPool(prefix, gw)
	p.Take(netip.MustParseAddr("10.0.0.3"))
	var got []string
	for range 4 {
		a, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.String())
	}
	want := []string{"10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("addresses %v, want %v", got, want)
		}
	}
	if a, err := p.Next(); err == nil {
		t.Fatalf("a full pool handed out %s", a)
	}
	p.Release(netip.MustParseAddr("10.0.0.4"))
	p.Release(netip.MustParseAddr("10.0.0.6"))
	if a, err := p.Next(); err != nil || a.String() != "10.0.0.4" {
		t.Fatalf("after a release got %s, %v", a, err)
	}
}
