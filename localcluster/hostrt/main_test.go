package hostrt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/cgroup"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/machine"
)

// The tests need namespaces of their own, as the node has them, so the test
// binary runs itself again: once as root without a user namespace, once as a
// plain user with one mapped id, once with a range as newuidmap gives it.
const (
	modeEnv = "STUDIO_HOSTRT_TEST_MODE"
	shimEnv = "STUDIO_HOSTRT_TEST_SHIM"
	// probeEnv is the program that the tests' images hold.
	probeEnv = "STUDIO_HOSTRT_TEST_PROBE"
	// groupEnv holds the control group that the test of root's node gets.
	groupEnv = "STUDIO_HOSTRT_TEST_GROUP"
	// plainUser is any user without rights and files.
	plainUser = 61234
)

func TestMain(m *testing.M) {
	if os.Getenv(modeEnv) != "" {
		if err := enter(); err != nil {
			fmt.Fprintln(os.Stderr, "entering the test's namespaces:", err)
			os.Exit(1)
		}
		code := m.Run()
		// Here, as only its own namespace may remove all that a node has made.
		left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*"))
		for _, path := range left {
			if path == groupsDir() {
				continue // Its mounts go with this namespace.
			}
			if err := os.RemoveAll(path); err != nil {
				fmt.Fprintln(os.Stderr, "cleaning up:", err)
				code = 1
			}
		}
		os.Exit(code)
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "running the tests in namespaces:", err)
		code = 1
	}
	os.Exit(code)
}

func outside() (int, error) {
	// Not /tmp, which may be a tmpfs, where an overlay behaves differently.
	dir, err := os.MkdirTemp("/var/tmp", "hostrt")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	shim := filepath.Join(dir, "studio-shim")
	build := exec.Command("go", "build", "-tags", "netgo osusergo seccomp", "-ldflags", "-s -w -extldflags -static", "-o", shim, "github.com/mlstudio/studio/cmd/studio-shim")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the shim: %w\n%s", err, out)
	}
	probe := filepath.Join(dir, "probe")
	build = exec.Command("go", "build", "-ldflags", "-s -w", "-o", probe, "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the tests' program: %w\n%s", err, out)
	}
	// Go's own build folder is closed to others.
	self := filepath.Join(dir, "hostrt.test")
	if err := copyFile("/proc/self/exe", self); err != nil {
		return 1, err
	}
	modes := []string{"rootless"}
	if os.Getuid() == 0 {
		modes = []string{"root", "rootless", "range"}
	}
	code := 0
	for _, mode := range modes {
		fmt.Printf("--- mode %s\n", mode)
		tmp := filepath.Join(dir, mode)
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return 1, err
		}
		if mode != "root" && os.Getuid() == 0 {
			if err := os.Chown(tmp, plainUser, plainUser); err != nil {
				return 1, err
			}
		}
		cmd := exec.Command(self, innerArgs()...)
		cmd.Env = append(os.Environ(), modeEnv+"="+mode, shimEnv+"="+shim, probeEnv+"="+probe, "HOME=/", "TMPDIR="+tmp)
		if mode == "root" {
			group, remove, err := makeGroup(datadir.Dir(tmp))
			if err != nil {
				return 1, err
			}
			defer remove()
			cmd.Env = append(cmd.Env, groupEnv+"="+group)
		}
		cmd.Dir, cmd.Stdout, cmd.Stderr = "/", os.Stdout, os.Stderr
		cmd.SysProcAttr = attributes(mode)
		if err := cmd.Run(); err != nil {
			fmt.Printf("--- mode %s: %v\n", mode, err)
			code = 1
		}
	}
	return code, nil
}

// makeGroup makes the group that the holder makes for a node.
func makeGroup(d datadir.Dir) (group string, remove func(), err error) {
	share, err := machine.Own()
	if err != nil {
		return "", nil, err
	}
	g := cgroup.Make(context.Background(), d, os.Getpid(), share)
	if g.Why != "" {
		fmt.Println("--- without control groups:", g.Why)
	}
	raw, err := json.Marshal(g)
	return string(raw), func() {
		if err := cgroup.Remove(d); err != nil {
			fmt.Fprintln(os.Stderr, "cleaning up:", err)
		}
	}, err
}

// innerArgs leaves out the files that `go test` wants from the outer run, which
// other users cannot write.
func innerArgs() []string {
	return slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool {
		return strings.HasPrefix(a, "-test.testlogfile=") || strings.HasPrefix(a, "-test.gocoverdir=")
	})
}

func attributes(mode string) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS, Pdeathsig: unix.SIGKILL}
	if mode == "root" {
		return a
	}
	id := os.Getuid()
	if id == 0 {
		id = plainUser
	}
	a.Cloneflags |= unix.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	if mode == "range" {
		a.UidMappings = append(a.UidMappings, syscall.SysProcIDMap{ContainerID: 1, HostID: 200000, Size: 65536})
		a.GidMappings = append(a.GidMappings, syscall.SysProcIDMap{ContainerID: 1, HostID: 200000, Size: 65536})
		a.GidMappingsEnableSetgroups = true
	}
	if os.Getuid() == 0 {
		a.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: mode == "rootless"}
	}
	return a
}

// enter finishes the namespaces from inside.
func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	var group cgroup.Group
	if raw := os.Getenv(groupEnv); raw != "" {
		if err := json.Unmarshal([]byte(raw), &group); err != nil {
			return err
		}
	}
	if err := group.Show("", groupsDir()); err != nil {
		return err
	}
	// The runtime serves streams on the node's loopback, which the holder has started.
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// groupsDir is where the node sees its group, if it has one.
func groupsDir() string { return filepath.Join(os.TempDir(), "cgroup") }

func mode() string { return os.Getenv(modeEnv) }

func lines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }
