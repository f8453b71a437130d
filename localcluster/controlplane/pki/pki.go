// Package pki makes the cluster's certificates: two authorities and a service
// account key that last as long as the data directory, and leaves that are made
// anew at every start, so that nothing expires on a laptop that sleeps.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/mlstudio/studio/localcluster/datadir"
)

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	leafLife      = 2 * 365 * 24 * time.Hour
	// backdate lets a clock that jumps back by less than this trust what was
	// issued before the jump.
	backdate = 365 * 24 * time.Hour
)

// Authority signs leaves.
type Authority struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
	PEM  []byte
}

// Leaf is a signed certificate with its key, PEM encoded.
type Leaf struct{ Cert, Key []byte }

// Request says what a leaf is for. With DNS names or addresses it may serve;
// without it is a client's.
type Request struct {
	CommonName    string
	Organizations []string
	DNSNames      []string
	IPs           []net.IP
}

// LoadOrCreateAuthority reads NAME.crt and NAME.key in dir, or makes them.
func LoadOrCreateAuthority(dir, name, commonName string) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	certPEM, cerr := os.ReadFile(certPath)
	keyPEM, kerr := os.ReadFile(keyPath)
	if cerr == nil && kerr == nil {
		a, err := parseAuthority(certPEM, keyPEM)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate authority %s: %w; restore it, or remove %s and %s to make a new one (kubeconfigs that were merged before stop working)", certPath, err, certPath, keyPath)
		}
		return a, nil
	}
	if cerr == nil && !errors.Is(kerr, os.ErrNotExist) || kerr == nil && !errors.Is(cerr, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the certificate authority %s: %w", name, errors.Join(cerr, kerr))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: commonName},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate authority %s: %w", name, err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, err
	}
	// The key first: a crash between the two leaves no certificate, and both are made again.
	if err := datadir.WriteFile(keyPath, keyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := datadir.WriteFile(certPath, certPEM, 0o600); err != nil {
		return nil, err
	}
	return parseAuthority(certPEM, keyPEM)
}

func parseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return nil, errors.New("no PEM block in the certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	block, _ = pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("no PEM block in the key")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("certificate and key do not belong together")
	}
	return &Authority{Cert: cert, Key: key, PEM: certPEM}, nil
}

// Issue signs a new leaf.
func (a *Authority) Issue(r Request) (Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Leaf{}, err
	}
	now := time.Now()
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(r.DNSNames)+len(r.IPs) > 0 {
		usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: r.CommonName, Organization: r.Organizations},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: usage,
		DNSNames: r.DNSNames, IPAddresses: r.IPs,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, key.Public(), a.Key)
	if err != nil {
		return Leaf{}, fmt.Errorf("signing the certificate of %s: %w", r.CommonName, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Leaf{}, err
	}
	return Leaf{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: keyPEM}, nil
}

// Write stores the leaf as NAME.crt and NAME.key, 0600.
func (l Leaf) Write(dir, name string) error {
	if err := datadir.WriteFile(filepath.Join(dir, name+".key"), l.Key, 0o600); err != nil {
		return err
	}
	return datadir.WriteFile(filepath.Join(dir, name+".crt"), l.Cert, 0o600)
}

// EnsureKey makes the key that signs service account tokens, once: tokens in
// running pods must stay valid.
func EnsureKey(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	raw, err := encodeKey(key)
	if err != nil {
		return err
	}
	return datadir.WriteFile(path, raw, 0o600)
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func serial() *big.Int {
	// crypto/rand.Int fails only with a broken reader, which crypto/rand rules out since Go 1.24.
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return n
}
