package hostrt

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// seal copies a program into memory, for good and for all pods: what runs is
// then out of reach of every container, whatever it does to the file that
// /proc shows it. libcontainer knows a sealed program and makes no copy of its
// own for each container. Where the kernel runs no program from memory
// (vm.memfd_noexec) the file itself is returned.
func seal(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening studio-shim: %w; run `make build`, or install Studio again", err)
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("studio-shim", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all are programs
		fd, err = unix.MemfdCreate("studio-shim", flags)
	}
	if err != nil {
		return file, nil
	}
	defer file.Close()
	sealed := os.NewFile(uintptr(fd), path)
	if _, err = io.Copy(sealed, file); err == nil {
		_, err = unix.FcntlInt(sealed.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		sealed.Close()
		return nil, fmt.Errorf("copying studio-shim into memory: %w", err)
	}
	return sealed, nil
}
