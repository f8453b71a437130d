package sandbox

import (
	"os"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/limits"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

func newConfig(spec *shimapi.Spec, pidNS string) (*configs.Config, error) {
	ns := configs.Namespaces{{Type: configs.NEWNS}}
	if spec.PID == shimapi.PIDOwn || pidNS != "" {
		ns = append(ns, configs.Namespace{Type: configs.NEWPID, Path: pidNS})
	}
	filter, err := newSeccomp(spec)
	if err != nil {
		return nil, err
	}
	c := &configs.Config{
		Rootfs:     spec.Root,
		Seccomp:    filter,
		Readonlyfs: spec.ReadOnlyRoot,
		Namespaces: ns,
		// Mounts that the node makes later must reach rslave binds.
		RootPropagation: unix.MS_SLAVE | unix.MS_REC,
		MaskPaths:       spec.Masked,
		ReadonlyPaths:   spec.ReadOnly,
		NoNewPrivileges: spec.Process.NoNewPrivileges,
		Capabilities:    capabilities(&spec.Process),
		RootlessCgroups: spec.Limits.Group == "",
		Cgroups:         newCgroup(spec),
		OomScoreAdj:     &spec.Limits.OOMScore,
		// Session keyrings have a small quota a user, and nothing here uses them.
		NoNewKeyring: true,
	}
	if n := spec.Limits.Nice; n > 0 {
		c.Scheduler = &configs.Scheduler{Policy: "SCHED_OTHER", Nice: int32(n)}
	}
	for _, m := range spec.Mounts {
		c.Mounts = append(c.Mounts, newMount(m))
		if m.Shared { // a slave's bind would be a slave again
			c.RootPropagation = unix.MS_SHARED | unix.MS_REC
		}
	}
	c.Devices = defaultDevices()
	for _, d := range spec.Devices {
		dev, err := deviceOf(d)
		if err != nil {
			return nil, err
		}
		c.Devices = append(c.Devices, dev)
	}
	return c, nil
}

// newCgroup is the container's control group. Without a path and Rootless
// libcontainer passes over what cannot be done.
func newCgroup(spec *shimapi.Spec) *cgroups.Cgroup {
	c := &cgroups.Cgroup{Path: spec.Limits.Group, Rootless: true, Resources: limits.Resources(spec.Limits)}
	if spec.Limits.Group == "" {
		c.Name, c.Resources = spec.ID, &cgroups.Resources{SkipDevices: true}
	}
	return c
}

func newMount(m shimapi.Mount) *configs.Mount {
	cm := &configs.Mount{Source: m.Source, Destination: m.Target, Device: m.Type, Flags: m.Flags, Data: m.Data}
	if m.ReadOnly {
		cm.Flags |= unix.MS_RDONLY
	}
	if m.Type != "bind" {
		return cm
	}
	cm.Flags |= unix.MS_BIND | unix.MS_REC
	propagation := unix.MS_PRIVATE | unix.MS_REC
	switch {
	case m.Shared:
		propagation = unix.MS_SHARED | unix.MS_REC
	case m.Slave:
		propagation = unix.MS_SLAVE | unix.MS_REC
	}
	cm.PropagationFlags = []int{propagation}
	if m.RecursiveReadOnly {
		cm.RecAttr = &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	}
	return cm
}

func capabilities(p *shimapi.Process) *configs.Capabilities {
	c := &configs.Capabilities{Bounding: p.Capabilities}
	// As an execve by another user than root would do it.
	if p.UID == 0 {
		c.Effective, c.Permitted = p.Capabilities, p.Capabilities
	}
	return c
}

// defaultDevices are the nodes that every container has.
func defaultDevices() []*devices.Device {
	var all []*devices.Device
	for _, d := range []struct {
		name         string
		major, minor int64
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		all = append(all, &devices.Device{
			Path: "/dev/" + d.name, FileMode: 0o666,
			Rule: devices.Rule{Type: devices.CharDevice, Major: d.major, Minor: d.minor, Permissions: "rwm", Allow: true},
		})
	}
	return all
}

func deviceOf(d shimapi.Device) (*devices.Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(d.Source, &st); err != nil {
		return nil, shimapi.Errorf("device %s: %v", d.Source, err)
	}
	kind := devices.CharDevice
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		kind = devices.BlockDevice
	case unix.S_IFCHR:
	default:
		return nil, shimapi.Errorf("device %s is not a device", d.Source)
	}
	return &devices.Device{
		Path: d.Target, FileMode: os.FileMode(st.Mode & 0o777), Uid: st.Uid, Gid: st.Gid,
		Rule: devices.Rule{Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), Permissions: devices.Permissions(d.Access), Allow: true},
	}, nil
}
