package holder

import (
	"errors"
	"os"
	"path/filepath"
)

// hostSysctls are what kubelet and kube-proxy write to and the whole machine
// has once. In a user namespace the kernel refuses the writes; under real
// root each becomes a file of the node's own.
var hostSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	"net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_buckets", "net/netfilter/nf_conntrack_tcp_timeout_established",
	"net/netfilter/nf_conntrack_tcp_timeout_close_wait", "net/nf_conntrack_max",
}

// privateSysctls covers the files below base/proc/sys with copies on the
// node's /run, which must be mounted.
func privateSysctls(base string) error {
	for _, name := range hostSysctls {
		value, err := os.ReadFile("/proc/sys/" + name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		own := filepath.Join(base, "run/studio/sysctl", name)
		if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(own, value, 0o644); err != nil {
			return err
		}
		// A file that only the host's network namespace has cannot be written from here.
		if err := bind(own, filepath.Join(base, "proc/sys", name), false); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	return nil
}
