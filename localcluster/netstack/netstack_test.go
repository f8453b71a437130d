package netstack

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestTarget(t *testing.T) {
	c := Config{
		Source: netip.MustParseAddr("192.0.2.1"), Nameserver: netip.MustParseAddr("192.0.2.53"), Host: netip.MustParseAddr("192.0.2.54"),
		HostPorts: []uint16{8080}, Refuse: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
	}
	for to, want := range map[string]string{
		"198.51.100.7:443":        "198.51.100.7:443",
		"[2001:db8::1]:443":       "[2001:db8::1]:443",
		"192.0.2.54:8080":         "127.0.0.1:8080",
		"192.0.2.54:8081":         "",
		"127.0.0.1:8080":          "",
		"127.8.9.1:80":            "",
		"[::1]:80":                "",
		"[::ffff:127.0.0.1]:80":   "",
		"0.0.0.0:80":              "",
		"[::]:80":                 "",
		"224.0.0.1:80":            "",
		"255.255.255.255:80":      "",
		"10.96.0.10:53":           "",
		"[::ffff:10.96.0.10]:53":  "",
		"192.0.2.1:6443":          "",
		"192.0.2.53:80":           "",
		"[::ffff:198.51.100.7]:1": "198.51.100.7:1",
	} {
		at := netip.MustParseAddrPort(to)
		got, err := c.target(at.Addr(), at.Port())
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %q, %v; want %q", to, got, err, want)
		}
	}
}

func TestParseServers(t *testing.T) {
	const file = "# c\nnameserver 127.0.0.53\nsearch a b\nnameserver fe80::1\nnameserver\nnameserver x\n"
	want := []string{"127.0.0.53:53", "[fe80::1]:53"}
	if got := parseServers(strings.NewReader(file)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestResolveFails: without a server that answers, the client is told at once.
func TestResolveFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	h := &hostSide{ctx: t.Context(), config: Config{ResolvConf: file, Log: slog.New(slog.DiscardHandler)}}
	query := make([]byte, 12)
	query[0], query[1] = 7, 9
	got := h.resolve(append([]byte(nil), query...))
	if len(got) != 12 || got[0] != 7 || got[2]&0x80 == 0 || got[3]&0xf != 2 {
		t.Errorf("got %v", got)
	}
	if h.resolve(query[:3]) != nil {
		t.Error("a message without a header was answered")
	}
}

// TestAskDNS: the answer to the question is taken, another's is not.
func TestAskDNS(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buffer := make([]byte, 512)
		n, from, err := server.ReadFrom(buffer)
		if err != nil {
			return
		}
		server.WriteTo(append([]byte{0, 0}, buffer[2:n]...), from)
		server.WriteTo(append(buffer[:n:n], "answer"...), from)
	}()
	got, err := askDNS(t.Context(), server.LocalAddr().String(), []byte("id-a-question"))
	if err != nil || string(got) != "id-a-questionanswer" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestResolverChanges: the next question goes where the host's file then says, as
// when a laptop joins another network or a VPN.
func TestResolverChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	h := &hostSide{ctx: t.Context(), config: Config{ResolvConf: file, Log: slog.New(slog.DiscardHandler)}}
	names := func(address string) {
		t.Helper()
		// Replaced, not written over, as network managers do.
		next := file + ".next"
		if err := os.WriteFile(next, []byte("nameserver "+address+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{"127.0.53.1", "127.0.53.2"} {
		server, err := net.ListenPacket("udp", address+":53")
		if err != nil {
			t.Skipf("SKIPPED: this user may not listen on port 53: %v", err)
		}
		defer server.Close()
		go func() {
			buffer := make([]byte, 512)
			for {
				n, from, err := server.ReadFrom(buffer)
				if err != nil {
					return
				}
				server.WriteTo(append(buffer[:n:n], address...), from)
			}
		}()
	}
	query := []byte("id: a question")
	for _, address := range []string{"127.0.53.1", "127.0.53.2", "127.0.53.1"} {
		names(address)
		if got := h.resolve(append([]byte(nil), query...)); string(got) != string(query)+address {
			t.Errorf("asked %s, got %q", address, got)
		}
	}
}
