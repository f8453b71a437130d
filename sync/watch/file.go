package watch

import (
	"hash/maphash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// entry is what is known of a file.
type entry struct {
	size, mtime int64
	ino         uint64
	// hash of the content; 0 where it was never read.
	hash uint64
	mode uint32 // kind, and whether it can be executed
	// racy: the file was so young when it was looked at that a later write may have
	// left the same time.
	racy bool
	// linked: it has other names, by which it may be written.
	linked bool
}

const (
	// hashed is the largest file whose content is compared.
	hashed = 1 << 20
	// tick is more than the kernel's grain of file times, 4 ms on common systems;
	// vfat's is 2 s.
	tick     = 20 * time.Millisecond
	vfatTick = 3 * time.Second
)

var seed = maphash.MakeSeed()

// entryOf makes an entry of what the system says; false for what is no file: a
// folder, a pipe, a socket, a device.
func entryOf(st *unix.Stat_t, t *traits, now time.Time) (entry, bool) {
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFREG && kind != unix.S_IFLNK {
		return entry{}, false
	}
	mtime := st.Mtim.Nano()
	e := entry{size: st.Size, mtime: mtime, mode: st.Mode & (unix.S_IFMT | unix.S_IXUSR), racy: now.UnixNano()-mtime < int64(t.tick), linked: st.Nlink > 1}
	if t.inodes {
		e.ino = st.Ino
	}
	return e, true
}

func (e entry) isLink() bool { return e.mode&unix.S_IFMT == unix.S_IFLNK }

// looksLike compares all but the content.
func (e entry) looksLike(o entry) bool {
	return e.size == o.size && e.mtime == o.mtime && e.ino == o.ino && e.mode == o.mode
}

// hash reads a file or a link's target; 0 where it is too large or can not be read.
func hash(path string, e entry) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	if e.isLink() {
		target, err := os.Readlink(path)
		if err != nil {
			return 0
		}
		h.WriteString(target)
		return max(h.Sum64(), 1)
	}
	if e.size > hashed {
		return 0
	}
	f, err := openFile(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	if n, err := io.Copy(&h, io.LimitReader(f, hashed+1)); err != nil || n > hashed {
		return 0
	}
	return max(h.Sum64(), 1)
}

// openFile opens for reading what is a regular file, and never waits for a pipe.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// patience is how long beingWritten waits for a writer that is about to close: it
// mostly does within microseconds of the write that was told, and a timer would
// take a millisecond.
const patience = time.Millisecond

// beingWritten tells whether a process has the file open for writing: the kernel
// grants a lease on reading only where none has. It is given back at once. known
// is false where the kernel can not tell: another user's file, a file system
// without leases.
func beingWritten(path string, patience time.Duration) (written, known bool) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, false
	}
	defer unix.Close(fd) // ends the lease too
	for begin, try := time.Now(), 0; ; try++ {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
		if err != unix.EAGAIN || time.Since(begin) >= patience {
			break
		}
		// To the writer, where it waits for this processor.
		if try < 4 {
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		} else {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil)
		}
	}
	if err == unix.EAGAIN {
		return true, true
	}
	return false, err == nil
}
