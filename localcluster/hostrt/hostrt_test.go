package hostrt_test

import (
	"strings"
	"testing"
)

func TestRunOne(t *testing.T) {
	n := newNode(t)
	out := n.must("echo hello; echo err >&2; hostname; id -u; cat /etc/resolv.conf; ls /; echo $$; pwd; echo $HOME $PATH; touch /usr/x /etc/y /z; ip addr || true; cat /proc/mounts; ls -la /dev")
	if !strings.HasPrefix(out, "hello\npod1\n0\nnameserver 10.96.0.10\n") {
		t.Errorf("printed %q", out)
	}
	t.Log(out)
}
