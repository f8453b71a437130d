package holder

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// deviceNodes are patterns of the devices that a node shows: what every
// container has, and accelerators. Disks, terminals and memory are not among them.
var deviceNodes = []string{
	"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/fuse", "/dev/kvm", "/dev/net/tun",
	"/dev/nvidia*", "/dev/nvidia-caps/*", "/dev/dri/*", "/dev/kfd", "/dev/infiniband/*", "/dev/accel/*",
}

// devices mounts a /dev of chosen devices with terminals and shared memory of its own.
func (r root) devices(base string) error {
	dev := base + "/dev"
	if err := mount("tmpfs", dev, unix.MS_NOSUID, "mode=0755,size=1m"); err != nil {
		return err
	}
	for _, pattern := range deviceNodes {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range found {
			if st, err := os.Stat(path); err != nil || st.Mode()&os.ModeDevice == 0 {
				continue
			}
			if err := bind(path, base+path, false); err != nil {
				return err
			}
		}
	}
	for link, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := symlink(target, dev+"/"+link); err != nil {
			return err
		}
	}
	// Group 5 is tty's everywhere; it cannot be named where it is not mapped.
	if err := mount("devpts", dev+"/pts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"); err != nil {
		if err := mount("devpts", dev+"/pts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
			return err
		}
	}
	if err := mount("tmpfs", dev+"/shm", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return err
	}
	if err := mount("mqueue", dev+"/mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	return kernelMessages(base)
}

// kernelMessages gives the kubelet's watcher of memory shortage something to
// open: the host's messages where they may be read, else none.
func kernelMessages(base string) error {
	const path = "/dev/kmsg"
	f, err := os.Open(path)
	if err != nil {
		return bind("/dev/null", base+path, false)
	}
	f.Close()
	return bind(path, base+path, true)
}
