package holder

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
)

// forbidden tells TestForbidden that it runs where no user namespace can be made.
const forbidden = "TEST_NAMESPACES_FORBIDDEN"

// TestForbidden: a system that forbids user namespaces is said with its cure.
// The system is a user namespace of its own, with the limit set to zero and
// without capabilities.
func TestForbidden(t *testing.T) {
	if os.Getenv(forbidden) == "" {
		cmd := exec.Command("/usr/bin/unshare", "--user", "--map-root-user", "/bin/sh", "-c",
			`echo 0 > /proc/sys/user/max_user_namespaces && exec /usr/bin/setpriv --inh-caps=-all --bounding-set=-all "$0" -test.run='^TestForbidden$' -test.v`, os.Args[0])
		cmd.Env = append(os.Environ(), forbidden+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestForbidden") {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	dir := datadir.Dir(t.TempDir())
	if err := dir.Init(); err != nil {
		t.Fatal(err)
	}
	_, spawn := Spawn(t.Context(), Options{Dir: dir})
	for what, err := range map[string]error{"Probe": namespaces.Probe(t.Context(), dir.String()), "Spawn": spawn} {
		var f *namespaces.ForbiddenError
		if !errors.As(err, &f) || !strings.Contains(err.Error(), "sudo sysctl -w user.max_user_namespaces=") {
			t.Errorf("%s: %v, want the switch that allows it", what, err)
		}
	}
}
