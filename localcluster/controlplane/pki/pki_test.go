package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAuthorityIsKeptAndLeavesVerify(t *testing.T) {
	dir := t.TempDir()
	ca, err := LoadOrCreateAuthority(dir, "ca", "test")
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateAuthority(dir, "ca", "test")
	if err != nil || !bytes.Equal(ca.PEM, again.PEM) {
		t.Fatalf("second load: %v, same certificate: %v", err, bytes.Equal(ca.PEM, again.PEM))
	}
	for _, f := range []string{"ca.crt", "ca.key"} {
		st, err := os.Stat(filepath.Join(dir, f))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", f, st.Mode(), err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM)
	for _, tc := range []struct {
		name  string
		req   Request
		usage x509.ExtKeyUsage
	}{
		{"server", Request{CommonName: "api", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, x509.ExtKeyUsageServerAuth},
		{"client", Request{CommonName: "admin", Organizations: []string{"system:masters"}}, x509.ExtKeyUsageClientAuth},
	} {
		t.Run(tc.name, func(t *testing.T) {
			leaf, err := again.Issue(tc.req)
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{tc.usage}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDamagedAuthorityIsRefusedNotReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadOrCreateAuthority(dir, "ca", "test"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadOrCreateAuthority(dir, "ca", "test")
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("error %v, want one that names %s", err, path)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "broken" {
		t.Error("the damaged file was replaced")
	}
}
