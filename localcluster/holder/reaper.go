package holder

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper waits for all children of this process, which as PID 1 are also the
// orphans of the namespace. Nothing else in the process may wait for one.
type reaper struct {
	mu      sync.Mutex
	watched map[int]chan unix.WaitStatus
}

func startReaper() *reaper {
	r := &reaper{watched: map[int]chan unix.WaitStatus{}}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, unix.SIGCHLD)
	go func() {
		for range sig {
			r.reap()
		}
	}()
	return r
}

// start calls fork, which starts a process and returns its id, and tells its
// end on the channel. The lock keeps a process that ends at once from being
// reaped before it is known.
func (r *reaper) start(fork func() (int, error)) (int, <-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return 0, nil, err
	}
	end := make(chan unix.WaitStatus, 1)
	r.watched[pid] = end
	return pid, end, nil
}

// reap takes all ended children; one signal may stand for several.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if end := r.watched[pid]; end != nil {
			end <- status
			delete(r.watched, pid)
		}
	}
}
