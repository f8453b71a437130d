package holder

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// nodeThread is an OS thread that lives in the node's network and mount
// namespaces while the rest of the holder stays in its own. What runs on it,
// sockets that it opens and processes that it starts are in the node.
type nodeThread struct {
	calls chan func()
	// netns and mntns are open descriptors of the namespaces.
	netns, mntns int
}

// startThread makes the namespaces. The thread lives as long as the process.
func startThread() (*nodeThread, error) {
	t := &nodeThread{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		// Never unlocked: no other goroutine may land on this thread.
		runtime.LockOSThread()
		ready <- t.enter()
		for call := range t.calls {
			call()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("making the node's namespaces: %w", err)
	}
	return t, nil
}

func (t *nodeThread) enter() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
		return err
	}
	for name, fd := range map[string]*int{"net": &t.netns, "mnt": &t.mntns} {
		var err error
		if *fd, err = unix.Open("/proc/thread-self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
	}
	return nil
}

// enterPID makes what the thread starts from now on live in the PID namespace.
func (t *nodeThread) enterPID(ns int) error {
	return t.do(func() error { return unix.Setns(ns, unix.CLONE_NEWPID) })
}

// do runs f on the thread and waits for it. f must not wait for long: all
// starts of the node half and all its mounts take turns here.
func (t *nodeThread) do(f func() error) error {
	res := make(chan error)
	t.calls <- func() { res <- f() }
	return <-res
}

// inNetwork runs f, which may wait, on a new thread in the node's network.
// A thread cannot return from a user namespace's network to the host's, so
// it ends with f.
func (t *nodeThread) inNetwork(f func()) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(t.netns, unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	<-done
}
