package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The store's locks, files that the kernel frees with their holder. Whoever
// adds content or begins to use it shares contentLock, whoever removes has it
// alone; indexLock is held for the moment of a change.
const (
	contentLock = "content.lock"
	indexLock   = "index.lock"
)

const (
	shared    = unix.LOCK_SH
	exclusive = unix.LOCK_EX
	// only is exclusive or an error at once.
	only = unix.LOCK_EX | unix.LOCK_NB
)

var errBusy = errors.New("the image store is in use")

func (s *Store) lock(name string, how int) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the image store: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errBusy
		}
		return nil, fmt.Errorf("locking the image store: %w", err)
	}
	return func() { f.Close() }, nil
}
