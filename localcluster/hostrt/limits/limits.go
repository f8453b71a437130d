// Package limits makes the control groups of pods, sets what they may use and
// reads what they use. The node half makes a group for each pod; the shim lets
// libcontainer make one below it for each container, so that no process of a
// container ever runs outside.
package limits

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// controllers of version 1 that a container joins.
var controllers = []string{"memory", "cpu", "cpuacct", "pids"}

// Groups are the groups of all pods.
type Groups struct {
	dir string
	// folders has each hierarchy's folder by controller; version 2 has one, "".
	folders map[string]string
}

// Open finds the group in which those of the pods go; without one it is nil.
func Open(dir string) (*Groups, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	g := &Groups{dir: dir, folders: map[string]string{"": dir}}
	if cgroups.IsCgroup2UnifiedMode() {
		return g, nil
	}
	hierarchies, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for the pods' control group: %w", err)
	}
	g.folders = map[string]string{}
	for _, h := range hierarchies {
		for c := range strings.SplitSeq(h.Name(), ",") {
			g.folders[c] = filepath.Join(dir, h.Name())
		}
	}
	for _, c := range controllers {
		if g.folders[c] == "" {
			return nil, fmt.Errorf("looking for the pods' control group: %s has no %s", dir, c)
		}
	}
	return g, nil
}

// Dir is where the groups are seen.
func (g *Groups) Dir() string { return g.dir }

// Name is the group of a container, as a shim that sees Dir as the whole tree has it.
func Name(pod, container string) string { return "/" + pod + "/" + container }

// manager of a group; names are those of the pod and the container, or of the pod alone.
func (g *Groups) manager(r *cgroups.Resources, names ...string) (cgroups.Manager, error) {
	paths := map[string]string{}
	for c, folder := range g.folders {
		paths[c] = filepath.Join(append([]string{folder}, names...)...)
	}
	return manager.NewWithPaths(&cgroups.Cgroup{Path: "/" + filepath.Join(names...), Rootless: true, Resources: r}, paths)
}

// MakePod makes a pod's group and limits it.
func (g *Groups) MakePod(pod string, l shimapi.Limits) error {
	for _, folder := range g.folders {
		path := filepath.Join(folder, pod)
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making the pod's control group: %w", err)
		}
		if len(g.folders) == 1 {
			if err := os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+cpu +memory +pids"), 0); err != nil {
				return fmt.Errorf("making the pod's control group: %w", err)
			}
		}
	}
	return g.SetPod(pod, l)
}

// SetPod limits a pod anew; what is 0 in l stays as it is.
func (g *Groups) SetPod(pod string, l shimapi.Limits) error {
	m, err := g.manager(&cgroups.Resources{}, pod)
	if err == nil {
		err = m.Set(Resources(l))
	}
	if err != nil {
		return fmt.Errorf("limiting the pod: %w", err)
	}
	return nil
}

// Remove removes a pod's group and those of its containers. All of its
// processes must have been killed; one that is not gone yet is waited for.
func (g *Groups) Remove(pod string) error {
	var errs []error
	for _, folder := range g.folders {
		errs = append(errs, cgroups.RemovePath(filepath.Join(folder, pod)))
	}
	return errors.Join(errs...)
}

// Sweep removes the groups of pods that are not known any more.
func (g *Groups) Sweep(known func(pod string) bool) error {
	var errs []error
	for _, folder := range g.folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() && !known(e.Name()) {
				errs = append(errs, g.Remove(e.Name()))
			}
		}
	}
	return errors.Join(errs...)
}

// Resources are limits as a manager of groups takes them.
func Resources(l shimapi.Limits) *cgroups.Resources {
	r := &cgroups.Resources{
		SkipDevices: true, Memory: l.Memory,
		CpuQuota: l.CPUQuota, CpuPeriod: l.CPUPeriod, CpuShares: l.CPUShares, CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(l.CPUShares),
	}
	if l.Tasks != 0 {
		r.PidsLimit = &l.Tasks
	}
	if cgroups.IsCgroup2UnifiedMode() {
		r.Unified = l.Unified
	} else if l.Memory > 0 && cgroups.PathExists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") {
		// No swap: a container that is too large ends, rather than that the disk is busy.
		r.MemorySwap = l.Memory
	}
	return r
}

// OOMKills tells how many processes of a container's group the kernel has
// killed for memory, seen from the shim.
func OOMKills(group string) (uint64, error) {
	path := filepath.Join("/sys/fs/cgroup", group, "memory.events")
	if !cgroups.IsCgroup2UnifiedMode() {
		path = filepath.Join("/sys/fs/cgroup/memory", group, "memory.oom_control")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseUint(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, nil
}
