package crilog

import (
	"errors"
	"syscall"
)

// isHangup: a terminal reports the end of its last process as an I/O error.
func isHangup(err error) bool { return errors.Is(err, syscall.EIO) }
