// Package watchdog holds the limits of a container where the kernel does not:
// it looks at what the container's processes use and says when that is too
// much. It looks seldom while nothing grows and the machine has memory to
// spare, and often when a limit, or the end of the machine's memory, is near.
package watchdog

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The pause between two looks.
	shortest = 20 * time.Millisecond
	longest  = time.Second
	// A program takes most of what it takes when it is young.
	young     = 3 * time.Second
	youngLook = 100 * time.Millisecond
	// fastest is how much memory a program may take in a second, in bytes: what
	// a few processors can clear.
	fastest = 4 << 30
	// crowd of new tasks that makes the next look come soon.
	crowd = 32
)

// Limits are the most a container may use; 0 is no limit.
type Limits struct {
	// Memory in bytes, of its processes, shared pages counted once.
	Memory int64
	// Tasks are processes and threads.
	Tasks int64
}

// Excess is what a container used too much of.
type Excess struct {
	// Memory tells that it was memory; else it was tasks.
	Memory      bool
	Used, Limit int64
}

func (e Excess) String() string {
	if e.Memory {
		return fmt.Sprintf("the container used %d MiB of memory, and its limit is %d MiB", e.Used>>20, e.Limit>>20)
	}
	return fmt.Sprintf("the container had %d processes and threads, and the limit is %d", e.Used, e.Limit)
}

// Watch is a watch over one container.
type Watch struct {
	procs *procs
	over  func(Excess)
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	mu     sync.Mutex
	limits Limits
}

// Start watches the processes that the proc file system shows; with mounts, a
// mount namespace, only those that are in it. over is called at most once.
// Start takes over both files.
func Start(proc, mounts *os.File, l Limits, over func(Excess)) *Watch {
	w := &Watch{procs: newProcs(proc, mounts), over: over, stop: make(chan struct{}), done: make(chan struct{}), limits: l}
	go w.run()
	return w
}

// Set changes the limits. They hold from the next look on.
func (w *Watch) Set(l Limits) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limits = l
}

// Stop ends the watch. A nil watch has nothing to end.
func (w *Watch) Stop() {
	if w == nil {
		return
	}
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

func (w *Watch) run() {
	defer close(w.done)
	defer w.procs.close()
	var before use
	start := time.Now()
	last := start
	timer := time.NewTimer(shortest)
	defer timer.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-timer.C:
		}
		w.mu.Lock()
		l := w.limits
		w.mu.Unlock()
		now := w.procs.look(l.Tasks)
		if e, is := w.excess(l, now); is {
			w.over(e)
			return
		}
		since := time.Since(last)
		last = time.Now()
		next := pause(l, before, now, since, available())
		if last.Sub(start) < young {
			next = min(next, youngLook)
		}
		timer.Reset(next)
		before = now
	}
}

// excess says what is over its limit. The sum of what each process holds counts
// a shared page more than once; whether it is really too much costs more to know.
func (w *Watch) excess(l Limits, now use) (Excess, bool) {
	if l.Tasks > 0 && now.tasks > l.Tasks {
		return Excess{Used: now.tasks, Limit: l.Tasks}, true
	}
	if l.Memory > 0 && now.memory > l.Memory {
		if exact := w.procs.exact(); exact > l.Memory {
			return Excess{Memory: true, Used: exact, Limit: l.Memory}, true
		}
	}
	return Excess{}, false
}

// pause is how long nothing bad can happen: until the container could reach its
// limit at the pace it has, or, from nothing, a quarter of the memory that is free.
func pause(l Limits, before, now use, since time.Duration, free int64) time.Duration {
	p := longest
	if l.Memory > 0 {
		room := max(l.Memory-now.memory, 0)
		p = min(p, take(room+free/4, fastest))
		if grown := now.memory - before.memory; grown > 0 && since > 0 {
			p = min(p, take(room/2, int64(float64(grown)/since.Seconds())))
		}
	}
	if l.Tasks > 0 && now.tasks > before.tasks+crowd {
		p = shortest
	}
	return max(p, shortest)
}

// take is how long an amount lasts at a pace for each second.
func take(amount, pace int64) time.Duration {
	if pace <= 0 {
		return longest
	}
	return min(time.Duration(float64(amount)/float64(pace)*float64(time.Second)), longest)
}

// available memory of the machine in bytes, as the kernel estimates it.
func available() int64 {
	var info unix.Sysinfo_t
	if raw, err := os.ReadFile("/proc/meminfo"); err == nil {
		if n, ok := field(raw, "MemAvailable:"); ok {
			return n << 10
		}
	}
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Freeram) * int64(info.Unit)
}
