package namespaces

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// actionEnv tells Hook what to do in the new namespaces, targetEnv on what.
const (
	actionEnv = "STUDIO_NS_ACTION"
	targetEnv = "STUDIO_NS_TARGET"
)

// Probe makes the namespaces that the node needs and mounts in them what the
// node mounts: a proc, a tmpfs and an overlay of /usr with its upper layer in
// scratch, an existing folder on the data directory's file system. The error
// says what is forbidden and what allows it.
func Probe(ctx context.Context, scratch string) error {
	dir, err := os.MkdirTemp(scratch, "probe-")
	if err != nil {
		return fmt.Errorf("probing namespaces: %w", err)
	}
	// The overlay leaves a work folder that only root inside may open.
	defer func() { RemoveAll(context.WithoutCancel(ctx), dir) }()
	return reexec(ctx, "probe", dir)
}

// RemoveAll removes a tree in which pods of this user may have left files of
// other ids, or folders that only root in the namespace may open.
func RemoveAll(ctx context.Context, path string) error {
	if os.RemoveAll(path) == nil {
		return nil
	}
	return reexec(ctx, "remove", path)
}

// reexec runs an action of Hook in new namespaces.
func reexec(ctx context.Context, action, target string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), actionEnv+"="+action, targetEnv+"="+target)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if _, err := Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		if text := strings.TrimSpace(out.String()); text != "" {
			return errors.New(text)
		}
		return fmt.Errorf("trying namespaces: %w", err)
	}
	return nil
}

// act runs in the new namespaces and returns the exit code.
func act(action string) int {
	var err error
	switch target := os.Getenv(targetEnv); action {
	case "probe":
		err = tryMounts(target)
	case "remove":
		err = os.RemoveAll(target)
	case "init":
		err = runInit(target)
	default:
		err = fmt.Errorf("unknown action %q", action)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func tryMounts(scratch string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return Explain("changing mounts in a user namespace", err)
	}
	// Relative paths need no escapes in overlay's options.
	if err := os.Chdir(scratch); err != nil {
		return fmt.Errorf("probing namespaces: %w", err)
	}
	for _, d := range []string{"proc", "tmp", "upper", "work", "merged"} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("probing namespaces: %w", err)
		}
	}
	if err := unix.Mount("proc", "proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return Explain("mounting a proc file system", err)
	}
	if err := unix.Mount("tmpfs", "tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m"); err != nil {
		return Explain("mounting a tmpfs", err)
	}
	options := "lowerdir=/usr,upperdir=upper,workdir=work"
	if !inInitialUserNamespace() {
		options += ",userxattr"
	}
	if err := unix.Mount("overlay", "merged", "overlay", 0, options); err != nil {
		return Explain("mounting an overlay", err)
	}
	if err := os.WriteFile("merged/probe", nil, 0o600); err != nil {
		return fmt.Errorf("writing into an overlay: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return Explain("creating a network namespace", err)
	}
	return nil
}

// inInitialUserNamespace reads the id map: only there it covers all ids.
func inInitialUserNamespace() bool {
	return strings.Join(strings.Fields(sysctl("/proc/self/uid_map")), " ") == "0 0 4294967295"
}
