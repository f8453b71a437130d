package sandbox

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// LimitTasks bounds what this process starts from now on, by the kernel and
// without control groups: all processes of a user together, and each new PID
// namespace. The first is a limit that processes inherit. Its soft value has no
// effect of its own here: it carries the second to the first process of a
// namespace, to which nothing else can be said so early.
func LimitTasks(namespace, user int64) error {
	r := unix.Rlimit{Cur: uint64(min(namespace, user-1)), Max: uint64(user)}
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &r); err != nil {
		return fmt.Errorf("limiting the number of processes: %w", err)
	}
	return nil
}

// BoundNamespace makes the kernel refuse more tasks in this PID namespace than
// LimitTasks said, if this is its first process. Kernels before 6.14 have one
// such number for the whole machine and say no; then the shim's watch is all.
func BoundNamespace() {
	var r unix.Rlimit
	if os.Getpid() != 1 || unix.Getrlimit(unix.RLIMIT_NPROC, &r) != nil || r.Cur >= r.Max {
		return
	}
	_ = os.WriteFile("/proc/sys/kernel/pid_max", []byte(strconv.FormatUint(r.Cur, 10)), 0)
	r.Cur = r.Max
	_ = unix.Setrlimit(unix.RLIMIT_NPROC, &r)
}
