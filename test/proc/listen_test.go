package proc

import (
	"net"
	"os"
	"testing"
)

func TestListenersSeeAnAddress(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // no IPv6 here
			continue
		}
		found, err := Listeners([]Process{{PID: os.Getpid()}})
		if err != nil {
			t.Fatal(err)
		}
		if want := l.Addr().String(); len(found) != 1 || found[0].Address.String() != want {
			t.Errorf("found %v, want %s", found, want)
		}
		l.Close()
	}
}
