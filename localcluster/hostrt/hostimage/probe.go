package hostimage

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// probe tries the mounts in a mount namespace that ends with the thread.
func (img *Image) probe(scratch string, rootless bool) error {
	dir, err := os.MkdirTemp(scratch, "probe")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	done := make(chan error)
	go func() {
		// Never unlocked: the thread must not be used again.
		runtime.LockOSThread()
		done <- img.probeHere(dir, rootless)
	}()
	return <-done
}

func (img *Image) probeHere(dir string, rootless bool) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for i := range img.Trees {
		t := &img.Trees[i]
		if t.How == Overlay {
			t.try(dir, rootless)
		}
	}
	sys := filepath.Join(dir, "sys")
	if err := os.Mkdir(sys, 0o755); err != nil {
		return err
	}
	// As a pod has it: with a network namespace of its own.
	if err := unix.Unshare(unix.CLONE_NEWNET); err == nil {
		err = unix.Mount("sysfs", sys, "sysfs", sysFlags|unix.MS_RDONLY, "")
		img.FreshSys = err == nil
	}
	pts := filepath.Join(dir, "pts")
	if err := os.Mkdir(pts, 0o755); err != nil {
		return err
	}
	img.TerminalGroup = unix.Mount("devpts", pts, "devpts", 0, devptsData+",gid=5") == nil
	return nil
}

// try finds options with which the kernel lays an overlay over the tree.
func (t *Tree) try(dir string, rootless bool) {
	base := filepath.Join(dir, t.Name)
	upper, work, at := filepath.Join(base, "u"), filepath.Join(base, "w"), filepath.Join(base, "m")
	for _, d := range []string{upper, work, at} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.How, t.Why = ReadOnly, err
			return
		}
	}
	// Without volatile the end of a container would wait for the disk to take
	// what is thrown away next.
	choices := []string{",volatile", ""}
	if rootless {
		choices = []string{",userxattr,volatile", ",userxattr"}
	}
	var errs []error
	for _, options := range choices {
		err := unix.Mount("overlay", at, "overlay", 0, overlayData([]string{"/" + t.Name}, upper, work, options))
		if err == nil {
			t.Options = options
			// Later trees must be tried without this mount, as they are used.
			_ = unix.Unmount(at, unix.MNT_DETACH)
			return
		}
		errs = append(errs, err)
	}
	t.How, t.Why = ReadOnly, errors.Join(errs...)
}

const (
	sysFlags   = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	devptsData = "newinstance,ptmxmode=0666,mode=0620"
)

// System are the kernel's own file systems.
func (img *Image) System() []shimapi.Mount {
	pts := devptsData
	if img.TerminalGroup {
		pts += ",gid=5"
	}
	m := []shimapi.Mount{
		{Source: "proc", Target: "/proc", Type: "proc", Flags: sysFlags},
		{Source: "tmpfs", Target: "/dev", Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: "mode=755,size=65536k"},
		{Source: "devpts", Target: "/dev/pts", Type: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: pts},
		{Source: "mqueue", Target: "/dev/mqueue", Type: "mqueue", Flags: sysFlags},
	}
	if img.FreshSys {
		return append(m, shimapi.Mount{Source: "sysfs", Target: "/sys", Type: "sysfs", Flags: sysFlags, ReadOnly: true})
	}
	return append(m, shimapi.Mount{Source: "/sys", Target: "/sys", Type: "bind", ReadOnly: true, RecursiveReadOnly: true})
}
