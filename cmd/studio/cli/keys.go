package cli

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// keys reads single key presses where a person sits at a terminal; without one
// the channel never has any. restore gives the terminal back as it was. Output
// and Ctrl-C work as ever, so this is not raw mode.
func keys(ctx context.Context, in io.Reader) (pressed <-chan byte, restore func()) {
	out := make(chan byte)
	f, ok := in.(*os.File)
	if !ok || !terminal(in) {
		return out, func() {}
	}
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return out, func() {}
	}
	single := *before
	single.Lflag &^= unix.ICANON | unix.ECHO
	single.Cc[unix.VMIN], single.Cc[unix.VTIME] = 1, 0
	if unix.IoctlSetTermios(fd, unix.TCSETS, &single) != nil {
		return out, func() {}
	}
	go func() {
		var key [1]byte
		for {
			if _, err := f.Read(key[:]); err != nil {
				return
			}
			select {
			case out <- key[0]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }
}
