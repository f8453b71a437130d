package hostimage

import (
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// ImageOptions finds the options for an overlay whose lower directories lie on
// the file system of scratch, as an image's unpacked layers do. They use
// userxattr as root, too, so that a layer means the same in every mode.
func ImageOptions(scratch string) string {
	const plain, fast = ",userxattr", ",userxattr,volatile"
	dir, err := os.MkdirTemp(scratch, "probe")
	if err != nil {
		return plain
	}
	defer os.RemoveAll(dir)
	found := make(chan string)
	go func() {
		// Never unlocked: the thread must not be used again.
		runtime.LockOSThread()
		found <- tryImage(dir, fast, plain)
	}()
	return <-found
}

func tryImage(dir, fast, plain string) string {
	if unix.Unshare(unix.CLONE_NEWNS) != nil || unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
		return plain
	}
	sub := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"l", "u", "w", "m"} {
		if os.Mkdir(sub(d), 0o755) != nil {
			return plain
		}
	}
	// Where neither works a container's start says why.
	if unix.Mount("overlay", sub("m"), "overlay", 0, overlayData([]string{sub("l")}, sub("u"), sub("w"), fast)) != nil {
		return plain
	}
	return fast
}
