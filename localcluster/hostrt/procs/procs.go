// Package procs names processes so that a number used again cannot be taken
// for the old process, and ends them.
package procs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Stat is what /proc/PID/stat says, as far as it is used here. Times are in
// clock ticks (USER_HZ, 100 a second on every supported system).
type Stat struct {
	State     byte
	Parent    int
	User, Sys uint64
	// ChildUser and ChildSys are those of children that were waited for.
	ChildUser, ChildSys uint64
	Start               uint64
	// RSS in pages.
	RSS                      uint64
	MinorFaults, MajorFaults uint64
}

// TicksPerSecond of the times in Stat.
const TicksPerSecond = 100

// ReadStat reads one process.
func ReadStat(pid int) (Stat, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Stat{}, err
	}
	// The name is in parentheses and may hold anything, also parentheses.
	end := bytes.LastIndexByte(raw, ')')
	fields := bytes.Fields(raw[end+1:])
	if end < 0 || len(fields) < 22 {
		return Stat{}, fmt.Errorf("reading /proc/%d/stat: %d fields", pid, len(fields))
	}
	num := func(field int) uint64 {
		n, _ := strconv.ParseUint(string(fields[field-3]), 10, 64)
		return n
	}
	return Stat{State: fields[0][0], Parent: int(num(4)), MinorFaults: num(10), MajorFaults: num(12), User: num(14), Sys: num(15),
		ChildUser: num(16), ChildSys: num(17), Start: num(22), RSS: num(24)}, nil
}

// Start returns a process' start time, which with its number names it for ever.
func Start(pid int) (uint64, error) {
	st, err := ReadStat(pid)
	return st.Start, err
}

// Alive tells whether the process of that number and start time still runs.
func Alive(pid int, start uint64) bool {
	st, err := ReadStat(pid)
	return err == nil && st.Start == start && st.State != 'Z' && st.State != 'X'
}

// Kill sends SIGKILL to the process of that number and start time and waits
// until it is gone. A process that is not there is no error.
func Kill(pid int, start uint64) error {
	if pid <= 1 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("killing process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	// The descriptor holds the process, so the check cannot go stale.
	if !Alive(pid, start) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", pid, err)
	}
	return waitFD(fd)
}

func waitFD(fd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
