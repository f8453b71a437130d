package sandbox

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// carrier is a limit that processes inherit and that no kernel since Linux 2.4
// looks at: it tells the first process of a PID namespace how many tasks that
// may have. Nothing else can be said to that process so early.
const carrier = unix.RLIMIT_LOCKS

// LimitTasks bounds what this process starts from now on, by the kernel and
// without control groups: each new PID namespace, and all processes of the same
// user together.
func LimitTasks(namespace, user int64) error {
	var r unix.Rlimit
	err := unix.Getrlimit(carrier, &r)
	if err == nil {
		r.Cur = min(uint64(namespace), r.Max)
		err = unix.Setrlimit(carrier, &r)
	}
	if err == nil {
		err = unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: uint64(user), Max: uint64(user)})
	}
	if err != nil {
		return fmt.Errorf("limiting the number of processes: %w", err)
	}
	return nil
}

// BoundNamespace makes the kernel refuse more tasks in this PID namespace than
// LimitTasks said, if this is its first process. Kernels before 6.14 have one
// such number for the whole machine and say no; then the shim's watch is all.
func BoundNamespace() {
	var r unix.Rlimit
	if os.Getpid() != 1 || unix.Getrlimit(carrier, &r) != nil || r.Cur >= r.Max {
		return
	}
	_ = os.WriteFile("/proc/sys/kernel/pid_max", []byte(strconv.FormatUint(r.Cur, 10)), 0)
	r.Cur = r.Max
	_ = unix.Setrlimit(carrier, &r)
}
