package sandbox

import (
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	lcseccomp "github.com/opencontainers/runc/libcontainer/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// newSeccomp is the filter of a container's system calls, nil for none. The
// default profile is the one of Docker and containerd; what it allows depends
// on the capabilities.
func newSeccomp(spec *shimapi.Spec) (*configs.Seccomp, error) {
	if spec.Seccomp == nil {
		return nil, nil
	}
	if !lcseccomp.Enabled {
		return nil, shimapi.Errorf("this studio-shim was built without seccomp, which the container asks for: build it with `make build`")
	}
	rights := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: spec.Process.Capabilities}}}
	load := func() (*specs.LinuxSeccomp, error) { return seccomp.GetDefaultProfile(rights) }
	if spec.Seccomp.Profile != nil {
		load = func() (*specs.LinuxSeccomp, error) { return seccomp.LoadProfile(string(spec.Seccomp.Profile), rights) }
	}
	profile, err := load()
	var filter *configs.Seccomp
	if err == nil && profile != nil { // an empty profile filters nothing
		filter, err = convert(profile)
	}
	if err != nil {
		return nil, shimapi.Errorf("seccomp profile %s: %v", spec.Seccomp.Name, err)
	}
	return filter, nil
}

// convert does what libcontainer's specconv can do, which would bring systemd
// and D-Bus into every shim.
func convert(p *specs.LinuxSeccomp) (*configs.Seccomp, error) {
	c := &configs.Seccomp{DefaultErrnoRet: p.DefaultErrnoRet, ListenerPath: p.ListenerPath, ListenerMetadata: p.ListenerMetadata}
	var err error
	if c.DefaultAction, err = lcseccomp.ConvertStringToAction(string(p.DefaultAction)); err != nil {
		return nil, err
	}
	if p.Flags == nil && lcseccomp.FlagSupported(specs.LinuxSeccompFlagSpecAllow) == nil {
		c.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow}
	}
	for _, f := range p.Flags {
		if err := lcseccomp.FlagSupported(f); err != nil {
			return nil, err
		}
		c.Flags = append(c.Flags, f)
	}
	for _, a := range p.Architectures {
		arch, err := lcseccomp.ConvertStringToArch(string(a))
		if err != nil {
			return nil, err
		}
		c.Architectures = append(c.Architectures, arch)
	}
	for _, call := range p.Syscalls {
		action, err := lcseccomp.ConvertStringToAction(string(call.Action))
		if err != nil {
			return nil, err
		}
		var args []*configs.Arg
		for _, a := range call.Args {
			op, err := lcseccomp.ConvertStringToOperator(string(a.Op))
			if err != nil {
				return nil, err
			}
			args = append(args, &configs.Arg{Index: a.Index, Value: a.Value, ValueTwo: a.ValueTwo, Op: op})
		}
		for _, name := range call.Names {
			c.Syscalls = append(c.Syscalls, &configs.Syscall{Name: name, Action: action, ErrnoRet: call.ErrnoRet, Args: args})
		}
	}
	return c, nil
}
