package namespaces

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseRanges(t *testing.T) {
	const file = "root:1:5\nann:100000:65536\n1001:165536:10\nbob:1:1\nann:bad:1\nann:7\n 1001 :9:9\n"
	for _, tt := range []struct {
		name string
		uid  int
		want []idRange
	}{
		{"ann", 1001, []idRange{{100000, 65536}, {165536, 10}}},
		{"", 1001, []idRange{{165536, 10}}},
		{"carl", 5, nil},
	} {
		if got := parseRanges(strings.NewReader(file), tt.name, tt.uid); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s/%d: got %v, want %v", tt.name, tt.uid, got, tt.want)
		}
	}
}

func TestMapArgs(t *testing.T) {
	got := strings.Join(mapArgs(42, 1000, []idRange{{100000, 65536}, {7, 3}}), " ")
	if want := "42 0 1000 1 1 100000 65536 65537 7 3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
