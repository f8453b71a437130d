// Package namespaces starts processes in namespaces of their own: a user
// namespace unless the caller is a capable root, and mount, PID, IPC and UTS
// namespaces. It knows how ids are mapped, why a system may forbid it and what
// the user can do then, and it links nothing of Kubernetes.
package namespaces

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mappedFD names the descriptor on which a child learns that its ids are mapped.
const mappedFD = "STUDIO_NS_MAPPED_FD"

// Mapping says how the ids of a user namespace came to be.
type Mapping string

// None: no user namespace. Single: the caller's id alone. Range: the caller's
// subordinate ids, mapped by newuidmap.
const (
	None   Mapping = "none"
	Single Mapping = "single"
	Range  Mapping = "range"
)

// Start runs cmd in new namespaces and returns once its ids are mapped. The
// program must call Hook first in its main. ExtraFiles of cmd keep their numbers.
func Start(cmd *exec.Cmd) (Mapping, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	attr := cmd.SysProcAttr
	attr.Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if CapableRoot() {
		return None, explain(cmd.Start())
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	ranges, ok := subordinate()
	if !ok {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		return Single, explain(cmd.Start())
	}
	return Range, startMapped(cmd, ranges)
}

// startMapped starts cmd in a user namespace without ids; it waits in Hook
// until newuidmap and newgidmap wrote them.
func startMapped(cmd *exec.Cmd, r idRanges) error {
	rd, wr, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting in a user namespace: %w", err)
	}
	defer rd.Close()
	defer wr.Close()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, mappedFD+"="+strconv.Itoa(3+len(cmd.ExtraFiles)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, rd)
	if err := cmd.Start(); err != nil {
		return explain(err)
	}
	err = r.write(cmd.Process.Pid)
	if err == nil {
		_, err = wr.Write([]byte{1})
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return fmt.Errorf("mapping subordinate ids: %w; check the lines of this user in /etc/subuid and /etc/subgid", err)
	}
	return nil
}

// CapableRoot tells whether this process can make namespaces without a user
// namespace around them.
func CapableRoot() bool {
	if os.Geteuid() != 0 {
		return false
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// Hook must be the first call of main in each program that uses Start, Probe
// or RemoveAll. It returns at once in a process that they did not start.
func Hook() {
	if fd, err := strconv.Atoi(os.Getenv(mappedFD)); err == nil {
		waitMapped(fd)
	}
	if action := os.Getenv(actionEnv); action != "" {
		os.Exit(act(action))
	}
}

// waitMapped waits for the ids and executes this program anew, since only that
// gives the now mapped root its capabilities.
func waitMapped(fd int) {
	os.Unsetenv(mappedFD)
	f := os.NewFile(uintptr(fd), "mapped")
	if n, _ := f.Read(make([]byte, 1)); n != 1 {
		os.Exit(1) // The parent is gone or said why.
	}
	f.Close()
	exe, err := os.Executable()
	if err == nil {
		err = unix.Exec(exe, os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "starting again with mapped ids:", err)
	os.Exit(1)
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// Current tells how the ids of this process's user namespace are mapped.
func Current() Mapping {
	if inInitialUserNamespace() {
		return None
	}
	for _, f := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		if len(strings.Split(sysctl(f), "\n")) < 2 {
			return Single
		}
	}
	return Range
}
