package namespaces

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ForbiddenError says that this system does not let the user make or use
// namespaces, and what allows it.
type ForbiddenError struct {
	// What was tried, as "creating a user namespace".
	What string
	Err  error
	// Cure is what to run, or to ask an administrator for.
	Cure string
}

func (e *ForbiddenError) Error() string { return fmt.Sprintf("%s: %v; %s", e.What, e.Err, e.Cure) }
func (e *ForbiddenError) Unwrap() error { return e.Err }

// appArmorKnob is set on Ubuntu 24.04 and later: a user namespace can be made,
// but without its capabilities.
const appArmorKnob = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"

func sysctl(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// explain turns an error of a start in new namespaces into its cause and cure.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EUSERS) {
		return err
	}
	return &ForbiddenError{What: "creating a user namespace", Err: err, Cure: cure()}
}

// cure looks at the known switches and names the one that is off.
func cure() string {
	switch {
	case sysctl("/proc/sys/user/max_user_namespaces") == "0":
		return "user namespaces are switched off; run `sudo sysctl -w user.max_user_namespaces=15000`"
	case sysctl("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "user namespaces are reserved for root; run `sudo sysctl -w kernel.unprivileged_userns_clone=1`"
	case sysctl(appArmorKnob) == "1":
		return "AppArmor restricts user namespaces; " + appArmorCure()
	case sysctl(appArmorKnob) == "" && sysctl("/proc/self/setgroups") == "":
		return "this kernel is built without user namespaces (CONFIG_USER_NS); use another kernel, or `studio up --driver kind`"
	}
	return "something above this process forbids it, as a container's seccomp filter does; run Studio outside of the container, or give the container what it needs (Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
}

// appArmorCure names the profile for this user's engine, and the shorter line
// that allows all programs.
func appArmorCure() string {
	exe, err := os.Executable()
	if err != nil {
		exe = "/path/to/studiod"
	}
	if i := strings.LastIndexByte(exe, '/'); i >= 0 {
		exe = exe[:i] + "/studio{,d}"
	}
	return fmt.Sprintf("allow Studio with `echo 'profile studio \"%s\" flags=(unconfined) { userns, }' | sudo tee /etc/apparmor.d/studio && sudo apparmor_parser -r /etc/apparmor.d/studio`, or all programs with `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`", exe)
}

// Explain adds the cure to an error of a mount in the new namespaces.
func Explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return &ForbiddenError{What: what, Err: err, Cure: cure()}
}
