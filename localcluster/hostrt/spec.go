package hostrt

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/hostimage"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
	"github.com/mlstudio/studio/localcluster/projects"
)

// defaultPath is the search path of a container that sets none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Homes of containers: root's and others' without a project.
const (
	rootHome = "/root"
	userHome = "/home/user"
)

func (c *container) layer() hostimage.Layer { return hostimage.Layer{Dir: c.dir} }

// newSpec turns the kubelet's wish into the shim's work, without the mounts of
// the system's trees. It changes nothing, and its errors name what cannot be done.
func (s *Server) newSpec(c *container) (*shimapi.Spec, error) {
	project, err := s.projectOf(c.pod)
	if err != nil {
		return nil, err
	}
	sec := c.cfg.GetLinux().GetSecurityContext()
	process, err := s.newProcess(c, project)
	if err != nil {
		return nil, err
	}
	process.Args = c.args()
	spec := &shimapi.Spec{
		ID: c.id, Dir: c.dir, Root: c.layer().Root(), ReadOnlyRoot: sec.GetReadonlyRootfs(),
		Masked: sec.GetMaskedPaths(), ReadOnly: sec.GetReadonlyPaths(),
		Process: *process, LogPath: c.logPath(),
		Limits: s.limitsOf(c),
		TTY:    c.cfg.GetTty(), Stdin: c.cfg.GetStdin(), StdinOnce: c.cfg.GetStdinOnce(),
	}
	switch sec.GetNamespaceOptions().GetPid() {
	case rt.NamespaceMode_POD:
		spec.PID = shimapi.PIDPod
	case rt.NamespaceMode_NODE:
		spec.PID = shimapi.PIDNode
	case rt.NamespaceMode_TARGET:
		spec.PID, spec.PIDOf = shimapi.PIDTarget, sec.GetNamespaceOptions().GetTargetId()
	}
	if spec.Devices, err = devicesOf(c.cfg); err != nil {
		return nil, err
	}
	if spec.Seccomp, err = seccompOf(sec); err != nil {
		return nil, err
	}
	spec.Mounts, err = s.newMounts(c, project)
	return spec, err
}

func (s *Server) projectOf(p *pod) (*projects.Project, error) {
	id := p.cfg.GetAnnotations()[projects.Annotation]
	if id == "" {
		return nil, nil
	}
	project, err := s.cfg.Project(id)
	if err != nil {
		return nil, fmt.Errorf("finding the project that the pod's annotation %s names: %w", projects.Annotation, err)
	}
	return project, nil
}

// newMounts lists what comes after the system's trees: the pod's own files, the
// project's folders, then what the kubelet asks for, outer folders first.
func (s *Server) newMounts(c *container, project *projects.Project) ([]shimapi.Mount, error) {
	mounts := []shimapi.Mount{{Source: s.sharedMemory(c.pod), Target: "/dev/shm", Type: "bind"}}
	wanted := slices.Clone(c.cfg.GetMounts())
	slices.SortStableFunc(wanted, func(a, b *rt.Mount) int {
		return strings.Count(path.Clean(a.GetContainerPath()), "/") - strings.Count(path.Clean(b.GetContainerPath()), "/")
	})
	own := func(target, name string) {
		if !slices.ContainsFunc(wanted, func(m *rt.Mount) bool { return path.Clean(m.GetContainerPath()) == target }) {
			mounts = append(mounts, shimapi.Mount{Source: filepath.Join(c.pod.dir, name), Target: target, Type: "bind"})
		}
	}
	own("/etc/resolv.conf", resolvFile)
	own("/etc/hostname", hostnameFile)
	if project != nil {
		mounts = append(mounts, shimapi.Mount{Source: s.cfg.HomeDir(project.ID), Target: projects.HomeInPod, Type: "bind"})
		for _, m := range project.Paths() {
			if m.ReadOnly && c.image != nil && c.image.has(m.Target()) {
				continue // an interpreter of the host's must not hide the image's own
			}
			if _, err := os.Stat(m.Path); err != nil {
				return nil, fmt.Errorf("project %s needs %s, which this node does not show (%w): run `studio run` in the project's folder again", project.Name, m.Path, err)
			}
			mounts = append(mounts, shimapi.Mount{Source: m.Path, Target: m.Target(), Type: "bind", ReadOnly: m.ReadOnly, RecursiveReadOnly: m.ReadOnly, Slave: true})
		}
	}
	for _, m := range wanted {
		sm, err := s.newMount(c, m)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, sm)
	}
	return mounts, nil
}

// sharedMemory is what is at /dev/shm: it belongs to the IPC namespace.
func (s *Server) sharedMemory(p *pod) string {
	if p.cfg.GetLinux().GetSecurityContext().GetNamespaceOptions().GetIpc() == rt.NamespaceMode_NODE {
		return "/dev/shm"
	}
	return filepath.Join(p.dir, shimapi.ShmName)
}

func (s *Server) newMount(c *container, m *rt.Mount) (shimapi.Mount, error) {
	target := path.Clean("/" + m.GetContainerPath())
	if m.GetImage().GetImage() != "" {
		return c.imageVolume(m)
	}
	if target == "/" {
		return shimapi.Mount{}, errors.New("a volume cannot be mounted on / here: the machine is the container's root")
	}
	source, err := resolve(m.GetHostPath())
	if err != nil {
		return shimapi.Mount{}, fmt.Errorf("volume at %s: %w", target, err)
	}
	if err := s.cfg.AllowMount(source, c.pod.cfg.GetMetadata().GetUid()); err != nil {
		return shimapi.Mount{}, fmt.Errorf("volume at %s: host path %s: %w", target, m.GetHostPath(), err)
	}
	if _, err := os.Stat(source); errors.Is(err, os.ErrNotExist) {
		// As other runtimes do it for a hostPath without a type.
		if err := os.MkdirAll(source, 0o755); err != nil {
			return shimapi.Mount{}, fmt.Errorf("volume at %s: %w", target, err)
		}
	}
	return shimapi.Mount{
		Source: source, Target: target, Type: "bind", ReadOnly: m.GetReadonly(), RecursiveReadOnly: m.GetRecursiveReadOnly(),
		Slave:  m.GetPropagation() == rt.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
		Shared: m.GetPropagation() == rt.MountPropagation_PROPAGATION_BIDIRECTIONAL,
	}, nil
}

// resolve follows all links of a path, of which the last parts may be missing.
func resolve(p string) (string, error) {
	p = filepath.Clean(p)
	if !filepath.IsAbs(p) {
		return "", fmt.Errorf("%q is not an absolute path", p)
	}
	real, err := filepath.EvalSymlinks(p)
	if errors.Is(err, os.ErrNotExist) && p != "/" {
		if _, err := os.Lstat(p); err == nil {
			return "", fmt.Errorf("%s is a link that leads nowhere", p)
		}
		parent, err := resolve(filepath.Dir(p))
		return filepath.Join(parent, filepath.Base(p)), err
	}
	return real, err
}

// newEnv is the container's environment: later entries win. An image's takes the
// place of the project's, whose interpreter is the host's.
func newEnv(c *container, project *projects.Project, home string) []string {
	values := map[string]string{}
	var order []string
	set := func(k, v string) {
		if !slices.Contains(order, k) {
			order = append(order, k)
		}
		values[k] = v
	}
	set("PATH", defaultPath)
	set("HOME", home)
	if h := c.pod.cfg.GetHostname(); h != "" {
		set("HOSTNAME", h)
	}
	if c.cfg.GetTty() {
		set("TERM", "xterm")
	}
	if c.image != nil {
		for _, kv := range c.image.Config.Env {
			k, v, _ := strings.Cut(kv, "=")
			set(k, v)
		}
	} else if project != nil {
		for k, v := range project.Env {
			set(k, v)
		}
	}
	for _, kv := range c.cfg.GetEnvs() {
		set(kv.GetKey(), string(kv.GetValue()))
	}
	if c.image == nil && project != nil && len(project.PathPrepend) > 0 {
		set("PATH", strings.Join(append(slices.Clone(project.PathPrepend), values["PATH"]), ":"))
	}
	env := make([]string, len(order))
	for i, k := range order {
		env[i] = k + "=" + values[k]
	}
	return env
}

// makeHome makes the home folder of a container without a project's.
func (s *Server) makeHome(c *container, spec *shimapi.Spec) error {
	if s.homeOf(c, spec.Process.UID) != userHome {
		return nil
	}
	dir := filepath.Join(spec.Root, userHome)
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.Chown(dir, int(spec.Process.UID), int(spec.Process.GID))
	}
	if err != nil {
		return fmt.Errorf("making the container's home folder: %w", err)
	}
	return nil
}

func (s *Server) homeOf(c *container, uid uint32) string {
	switch {
	case c.pod.cfg.GetAnnotations()[projects.Annotation] != "":
		return projects.HomeInPod
	case uid == 0:
		return rootHome
	}
	return userHome
}
