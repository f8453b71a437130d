package netpolicy

import (
	"path/filepath"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSentence(t *testing.T) {
	all := make([]networkingv1.NetworkPolicy, 5)
	for i := range all {
		all[i].ObjectMeta = metav1.ObjectMeta{Namespace: "ns", Name: string(rune('a' + i))}
	}
	if got := sentence(all[:1]); !strings.HasPrefix(got, "1 NetworkPolicies are not enforced") || !strings.Contains(got, "(ns/a)") {
		t.Error(got)
	}
	if got := sentence(all); !strings.Contains(got, "(ns/a, ns/b, ns/c, 2 more)") {
		t.Error(got)
	}
}

func TestNoCluster(t *testing.T) {
	if got, err := Warning(t.Context(), filepath.Join(t.TempDir(), "none")); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
