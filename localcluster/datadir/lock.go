package datadir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

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

// Dying is how long an engine that was killed may hold its lock.
const Dying = 800 * time.Millisecond

// Lock takes the folder for this process. The kernel gives the lock back when
// the process ends, however it ends. A *LockedError names the owner.
func (d Dir) Lock() (release func(), err error) {
	f, err := os.OpenFile(d.lockFile(), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Dying)
	defer cancel()
	if err := flock(ctx, f); errors.Is(err, context.DeadlineExceeded) {
		owner, _ := os.ReadFile(d.lockFile())
		pid := strings.TrimSpace(string(owner))
		if pid == "" {
			pid = "unknown"
		}
		return nil, &LockedError{Dir: d, PID: pid}
	} else if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	err = f.Truncate(0)
	if err == nil {
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
	if err := waitUnlocked(ctx, d.lockFile()); err != nil {
		return fmt.Errorf("waiting for the engine to end: %w", err)
	}
	return nil
}

// waitUnlocked returns when nobody holds the lock on a file, which may not exist.
func waitUnlocked(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := flock(ctx, f); err != nil {
		return err
	}
	return f.Close()
}

// flock takes the lock when its owner lets go. It closes the file when ctx ends first.
func flock(ctx context.Context, f *os.File) error {
	taken := make(chan error, 1)
	// The kernel wakes this when the owner ends; there is no poll.
	go func() { taken <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-taken:
		return err
	case <-ctx.Done():
		go func() {
			<-taken
			f.Close()
		}()
		return ctx.Err()
	}
}
