package datadir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// LockedError says that another engine owns the data directory.
type LockedError struct {
	Dir Dir
	PID string
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("data directory %s is in use by another engine (process %s); run `studio stop` there, or set %s to another folder", e.Dir, e.PID, Env)
}

// Lock takes the folder for this process. The kernel gives the lock back when
// the process ends, however it ends. A *LockedError names the owner.
func (d Dir) Lock() (release func(), err error) {
	f, err := os.OpenFile(d.lockFile(), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			owner, _ := os.ReadFile(d.lockFile())
			pid := strings.TrimSpace(string(owner))
			if pid == "" {
				pid = "unknown"
			}
			return nil, &LockedError{Dir: d, PID: pid}
		}
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(fmt.Sprintf("%d\n", os.Getpid())), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	return func() { f.Close() }, nil
}

// WaitUnlocked returns when no engine owns the folder. It takes the lock for a
// moment only.
func (d Dir) WaitUnlocked(ctx context.Context) error {
	f, err := os.OpenFile(d.lockFile(), os.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("waiting for the engine to end: %w", err)
	}
	free := make(chan error, 1)
	go func() {
		defer f.Close()
		// The kernel wakes this when the owner ends; there is no poll.
		free <- unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}()
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting for the engine to end: %w", ctx.Err())
	case err := <-free:
		return err
	}
}
