package ignore

import (
	"errors"
	"syscall"
)

// notThere: a part of the path is a file, as .git is in a worktree.
func notThere(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
