package hostrt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// seccompOf is the filter that the container asks for. A privileged one has
// none, as with other runtimes.
func seccompOf(sec *rt.LinuxContainerSecurityContext) (*shimapi.Seccomp, error) {
	p := sec.GetSeccomp()
	if p == nil || sec.GetPrivileged() || p.GetProfileType() == rt.SecurityProfile_Unconfined {
		return nil, nil
	}
	if p.GetProfileType() == rt.SecurityProfile_RuntimeDefault {
		return &shimapi.Seccomp{Name: "RuntimeDefault"}, nil
	}
	// The kubelet has put the folder of profiles before the name.
	path := p.GetLocalhostRef()
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("seccomp profile %s is not on this node: put the file into %s", filepath.Base(path), filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return &shimapi.Seccomp{Name: filepath.Base(path), Profile: raw}, nil
}

// warnAboutSecurity says what of a container's security context is not honoured.
func (s *Server) warnAboutSecurity(c *container) {
	name, sec := c.cfg.GetMetadata().GetName(), c.cfg.GetLinux().GetSecurityContext()
	if p := sec.GetApparmor(); p != nil && p.GetProfileType() != rt.SecurityProfile_Unconfined {
		s.once(c.pod, "AppArmorNotApplied "+name, Event{Warning: true, Reason: "AppArmorNotApplied", Message: fmt.Sprintf("the AppArmor profile of container %s is not applied on this node; its user, capabilities and seccomp profile are", name)})
	}
	if o := sec.GetSelinuxOptions(); o.GetUser()+o.GetRole()+o.GetType()+o.GetLevel() != "" {
		s.once(c.pod, "SELinuxNotApplied "+name, Event{Warning: true, Reason: "SELinuxNotApplied", Message: fmt.Sprintf("the SELinux options of container %s are not applied on this node; its user, capabilities and seccomp profile are", name)})
	}
	if sec.GetPrivileged() && s.cfg.Rootless {
		s.once(c.pod, "PrivilegedRootless "+name, Event{Warning: true, Reason: "PrivilegedWithoutRoot", Message: fmt.Sprintf("container %s is privileged within this node only, which runs without root: it may mount, use all capabilities and trace in its own namespaces, but not change the machine's devices, clock, kernel modules or settings; `studio up` as root lifts it", name)})
	}
}

// ownDevices are what a container has, or has not, below /dev by itself.
var ownDevices = []string{"null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "stdout", "stderr", "pts", "shm", "mqueue", "console"}

// devicesOf are the devices that a container asks for; a privileged one gets
// all that the node shows.
func devicesOf(cfg *rt.ContainerConfig) ([]shimapi.Device, error) {
	var all []shimapi.Device
	for _, d := range cfg.GetDevices() {
		all = append(all, shimapi.Device{Source: d.GetHostPath(), Target: d.GetContainerPath(), Access: d.GetPermissions()})
	}
	if !cfg.GetLinux().GetSecurityContext().GetPrivileged() {
		return all, nil
	}
	err := filepath.WalkDir("/dev", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if filepath.Dir(path) == "/dev" && slices.Contains(ownDevices, d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		asked := slices.ContainsFunc(all, func(have shimapi.Device) bool { return have.Target == path })
		if d.Type()&fs.ModeDevice != 0 && !asked {
			all = append(all, shimapi.Device{Source: path, Target: path, Access: "rwm"})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the node's devices for a privileged container: %w", err)
	}
	return all, nil
}
