package holder

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/mlstudio/studio/localcluster/network"
)

// hostAddress is an address of this machine outside of loopback.
func hostAddress(t *testing.T) string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address outside of loopback")
	return ""
}

func listen(t *testing.T, address string) string {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go echo(l)
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// TestHolderNetwork: the way out leads to the host's network, never to its loopback.
func TestHolderNetwork(t *testing.T) {
	address := hostAddress(t)
	outside, named, hidden := listen(t, address), listen(t, "127.0.0.1"), listen(t, "127.0.0.1")
	f := startHolder(t, "TEST_HOST_PORT="+named)
	f.startNode()
	talk := func(address, port string) string {
		return f.shell("timeout 5 bash -c 'exec 3<>/dev/tcp/" + address + "/" + port + "; echo hello >&3; head -1 <&3'")
	}
	if got := talk(address, outside); got != "hello\n" {
		t.Errorf("the host's address: %q", got)
	}
	if got := talk(HostAddress.String(), named); got != "hello\n" {
		t.Errorf("a named port of loopback: %q", got)
	}
	for _, to := range [][2]string{{"127.0.0.1", hidden}, {address, hidden}, {HostAddress.String(), hidden}, {"0.0.0.0", hidden}, {"10.96.0.7", hidden}} {
		if got := talk(to[0], to[1]); strings.Contains(got, "hello") || !strings.Contains(got, "refused") {
			t.Errorf("%s:%s: %q", to[0], to[1], got)
		}
	}
}

// TestHolderDNS: a question from the node reaches the host's server, which may
// listen on loopback.
func TestHolderDNS(t *testing.T) {
	f := startHolder(t)
	f.startNode()
	// The host's servers decide what the answer is; any answer, also "server
	// failure" where no server answers, shows that the question was taken.
	const ask = `exec 3<>/dev/udp/%s/53; printf 'ab\001\000\000\001\000\000\000\000\000\000\007invalid\000\000\001\000\001' >&3; timeout 8 head -c2 <&3`
	server := network.Nameserver.String()
	if got := f.shell("bash -c \"" + strings.ReplaceAll(strings.ReplaceAll(ask, "%s", server), `"`, `\"`) + "\""); got != "ab" {
		t.Errorf("%s: %q", server, got)
	}
}
