package sandbox

import (
	"runtime"
	"sync"
)

// A process is told of the death of the thread that started it, not of the
// whole parent. Go ends threads as it likes, so whatever must die with the
// shim is started on one that stays for as long as the shim.
var parent struct {
	once sync.Once
	work chan func()
}

// OnParent runs f on the thread that stays.
func OnParent(f func() error) error {
	parent.once.Do(func() {
		parent.work = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range parent.work {
				f()
			}
		}()
	})
	done := make(chan error)
	parent.work <- func() { done <- f() }
	return <-done
}
