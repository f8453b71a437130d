package controlplane

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/mlstudio/studio/localcluster/controlplane/pki"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/node/metrics"
)

// issue writes every certificate, key and kubeconfig of one start.
func issue(f files) error {
	ca, err := pki.LoadOrCreateAuthority(f.dir.PKI(), "ca", "studio-ca")
	if err != nil {
		return err
	}
	front, err := pki.LoadOrCreateAuthority(f.dir.PKI(), "front-proxy-ca", "studio-front-proxy-ca")
	if err != nil {
		return err
	}
	if err := pki.EnsureKey(f.pki("service-account.key")); err != nil {
		return fmt.Errorf("making the service account key: %w", err)
	}
	gateway := net.IP(f.net.Gateway().AsSlice())
	for _, c := range []struct {
		dir, name string
		by        *pki.Authority
		req       pki.Request
	}{
		{f.dir.PKI(), "apiserver", ca, pki.Request{
			CommonName: "kube-apiserver",
			DNSNames:   []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
			IPs:        []net.IP{net.IPv4(127, 0, 0, 1), f.net.APIAddress.AsSlice(), f.net.APIService().AsSlice()},
		}},
		{f.dir.PKI(), "apiserver-kubelet-client", ca, pki.Request{CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}}},
		{f.dir.PKI(), "front-proxy-client", front, pki.Request{CommonName: "front-proxy-client"}},
		{f.dir.NodePKI(), "kubelet", ca, pki.Request{CommonName: network.NodeName, DNSNames: []string{network.NodeName, "localhost"}, IPs: []net.IP{gateway, net.IPv4(127, 0, 0, 1)}}},
		{f.dir.NodePKI(), metrics.CertName, ca, pki.Request{CommonName: metrics.Service, DNSNames: []string{metrics.HostName}}},
	} {
		leaf, err := c.by.Issue(c.req)
		if err != nil {
			return err
		}
		if err := leaf.Write(c.dir, c.name); err != nil {
			return err
		}
	}
	if err := datadir.WriteFile(filepath.Join(f.dir.NodePKI(), "ca.crt"), ca.PEM, 0o600); err != nil {
		return err
	}
	if err := datadir.WriteFile(filepath.Join(f.dir.NodePKI(), metrics.ProxyCAName), front.PEM, 0o600); err != nil {
		return err
	}
	host := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(f.port))
	inside := "https://" + net.JoinHostPort(f.net.APIAddress.String(), strconv.Itoa(network.APIPort))
	for _, k := range []struct {
		path, server, user string
		req                pki.Request
	}{
		{f.dir.Kubeconfig(), host, "studio-admin", pki.Request{CommonName: "studio-admin", Organizations: []string{"system:masters"}}},
		// The controller manager and the scheduler live in the API server's own
		// process: finer identities would cost a token request per controller at
		// every start and protect nothing.
		{f.controllerKubeconfig(), host, "system:kube-controller-manager", pki.Request{CommonName: "system:kube-controller-manager", Organizations: []string{"system:masters"}}},
		{f.dir.NodeKubeconfig(), inside, "system:node:" + network.NodeName, pki.Request{CommonName: "system:node:" + network.NodeName, Organizations: []string{"system:nodes"}}},
		{filepath.Join(f.dir.PKI(), "platform.kubeconfig"), host, "studio-platform", pki.Request{CommonName: "studio-platform", Organizations: []string{"system:masters"}}},
		{filepath.Join(f.dir.Node(), "services.kubeconfig"), inside, "studio-node", pki.Request{CommonName: "studio-node", Organizations: []string{"studio:node-services"}}},
	} {
		leaf, err := ca.Issue(k.req)
		if err != nil {
			return err
		}
		if err := writeKubeconfig(k.path, k.server, k.user, ca.PEM, leaf); err != nil {
			return err
		}
	}
	return nil
}

func writeKubeconfig(path, server, user string, ca []byte, leaf pki.Leaf) error {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["studio"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	cfg.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: leaf.Cert, ClientKeyData: leaf.Key}
	cfg.Contexts["studio"] = &clientcmdapi.Context{Cluster: "studio", AuthInfo: user, Namespace: "default"}
	cfg.CurrentContext = "studio"
	raw, err := clientcmd.Write(*cfg)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return datadir.WriteFile(path, raw, 0o600)
}

// writeEgress tells the API server to reach the node and its pods through the
// node half's socket.
func writeEgress(f files) error {
	raw := fmt.Sprintf(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      uds:
        udsName: %q
`, f.dir.NodeSocket())
	return os.WriteFile(f.egress(), []byte(raw), 0o600)
}
