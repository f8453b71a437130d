package hostrt

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestStopSignal(t *testing.T) {
	for signal, want := range map[rt.Signal]unix.Signal{
		rt.Signal_SIGNAL_RUNTIME_DEFAULT: unix.SIGTERM, rt.Signal_SIGNAL_SIGINT: unix.SIGINT, rt.Signal_SIGNAL_SIGUSR1: unix.SIGUSR1,
		rt.Signal_SIGNAL_SIGRTMIN: 34, rt.Signal_SIGNAL_SIGRTMINPLUS3: 37, rt.Signal_SIGNAL_SIGRTMAXMINUS2: 62, rt.Signal_SIGNAL_SIGRTMAX: 64,
	} {
		if got := stopSignal(&container{cfg: &rt.ContainerConfig{StopSignal: signal}}); got != want {
			t.Errorf("%v is signal %d, want %d", signal, got, want)
		}
	}
}

func TestResolveFollowsLinksBeforeWhatIsMissing(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"link": "real", "nowhere": "missing"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for in, want := range map[string]string{
		dir + "/link": dir + "/real", dir + "/link/a/b": dir + "/real/a/b", dir + "/link/../real": dir + "/real", dir + "/nowhere": "", "relative": "",
	} {
		got, err := resolve(in)
		if (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("resolve(%s) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestCapabilitiesNeverExceedWhatTheNodeHas(t *testing.T) {
	s := &Server{caps: slices.DeleteFunc(slices.Clone(capNames), func(n string) bool { return n == "CAP_SYS_RESOURCE" })}
	for name, tt := range map[string]struct {
		sec       *rt.LinuxContainerSecurityContext
		has, lack []string
	}{
		"default":    {nil, []string{"CAP_CHOWN"}, []string{"CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"}},
		"privileged": {&rt.LinuxContainerSecurityContext{Privileged: true}, []string{"CAP_SYS_ADMIN"}, []string{"CAP_SYS_RESOURCE"}},
		"drop all, add one": {&rt.LinuxContainerSecurityContext{Capabilities: &rt.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"net_admin"}}},
			[]string{"CAP_NET_ADMIN"}, []string{"CAP_CHOWN"}},
		"add all, drop one": {&rt.LinuxContainerSecurityContext{Capabilities: &rt.Capability{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"CHOWN"}}},
			[]string{"CAP_SYS_ADMIN"}, []string{"CAP_CHOWN", "CAP_SYS_RESOURCE"}},
	} {
		got := s.capabilitiesOf(tt.sec)
		for _, c := range tt.has {
			if !slices.Contains(got, c) {
				t.Errorf("%s: %s is missing in %v", name, c, got)
			}
		}
		for _, c := range tt.lack {
			if slices.Contains(got, c) {
				t.Errorf("%s: %s is in %v", name, c, got)
			}
		}
	}
}
