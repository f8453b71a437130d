package watchdog

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// use is what a container's processes use.
type use struct {
	// memory in bytes: anonymous, shared and swapped out. Files that are mapped
	// do not count; the kernel drops them when it needs room.
	memory, tasks int64
}

// procs reads the processes of a container from its own proc file system, so
// that a look costs as much as the container is large, however many others run.
type procs struct {
	proc, mounts *os.File
	own          unix.Stat_t
	buf          []byte
}

func newProcs(proc, mounts *os.File) *procs {
	p := &procs{proc: proc, mounts: mounts, buf: make([]byte, 4096)}
	if mounts != nil {
		// A file that is open can be asked.
		_ = unix.Fstat(int(mounts.Fd()), &p.own)
	}
	return p
}

func (p *procs) close() {
	p.proc.Close()
	if p.mounts != nil {
		p.mounts.Close()
	}
}

// look adds up all processes. One that ends meanwhile is passed over. Where
// there are more than enough it only counts: each that is read costs time, in
// which more are made.
func (p *procs) look(enough int64) (u use) {
	names := p.names()
	if enough > 0 && int64(len(names)) > enough && p.mounts == nil {
		return use{tasks: int64(len(names))}
	}
	p.each(names, func(name string) {
		raw := p.read(name + "/status")
		threads, ok := field(raw, "Threads:")
		if !ok {
			return
		}
		u.tasks += threads
		for _, key := range []string{"RssAnon:", "RssShmem:", "VmSwap:"} {
			n, _ := field(raw, key)
			u.memory += n << 10
		}
	})
	return u
}

// exact adds up with each page counted once.
func (p *procs) exact() (memory int64) {
	p.each(p.names(), func(name string) {
		raw := p.read(name + "/smaps_rollup")
		for _, key := range []string{"Pss_Anon:", "Pss_Shmem:", "SwapPss:"} {
			n, _ := field(raw, key)
			memory += n << 10
		}
	})
	return memory
}

// names of the processes that the proc file system shows.
func (p *procs) names() []string {
	if _, err := p.proc.Seek(0, io.SeekStart); err != nil {
		return nil
	}
	// An error says that the namespace is gone, and all processes with it.
	names, _ := p.proc.Readdirnames(-1)
	return slices.DeleteFunc(names, func(name string) bool { return name[0] < '0' || name[0] > '9' })
}

// each calls f for those that belong to the container.
func (p *procs) each(names []string, f func(name string)) {
	for _, name := range names {
		if p.mounts != nil {
			var st unix.Stat_t
			if err := unix.Fstatat(int(p.proc.Fd()), name+"/ns/mnt", &st, 0); err != nil || st.Ino != p.own.Ino || st.Dev != p.own.Dev {
				continue
			}
		}
		f(name)
	}
}

// read returns the content of a small file; it is good until the next call.
func (p *procs) read(name string) []byte {
	fd, err := unix.Openat(int(p.proc.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n := 0
	for n < len(p.buf) {
		m, err := unix.Read(fd, p.buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			break
		}
		n += m
	}
	return p.buf[:n]
}

// field finds the number in a line such as "RssAnon:  12 kB".
func field(raw []byte, key string) (int64, bool) {
	for line := range bytes.Lines(raw) {
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			f := bytes.Fields(rest)
			if len(f) == 0 {
				return 0, false
			}
			n, err := strconv.ParseInt(string(f[0]), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
