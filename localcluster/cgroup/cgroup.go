// Package cgroup makes the one control group on the host below which all pods
// of a node live, and removes it. It runs on the host's side, where the whole
// tree is seen; the node gets the group's folders and nothing above them.
//
// Root makes the group at the top of the tree, of either version. A plain user
// gets one from systemd's user manager, which hands over a part of version 2's
// tree to a scope. Where neither is to be had the group says why, and what
// would change that.
package cgroup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/machine"
)

// Root is where the tree is mounted.
const Root = "/sys/fs/cgroup"

// weight of all pods together where a group's usual one is 100: a desktop that
// wants the processor, too, gets the larger part.
const weight = 50

// Group is the group of a node's pods.
type Group struct {
	// Folders of the group. Version 2 has one, under the empty name; version 1
	// one a hierarchy, under the hierarchy's folder in Root.
	Folders map[string]string `json:"folders,omitempty"`
	// Why there is none: a sentence with the way out.
	Why string `json:"why,omitempty"`
}

// needed are the controllers of version 2 that a group is of no use without.
var needed = []string{"cpu", "memory", "pids"}

// files that must be there in a group, by version 1's hierarchy.
var files = map[string][]string{
	"memory":  {"memory.limit_in_bytes", "memory.oom_control"},
	"cpu":     {"cpu.shares", "cpu.cfs_quota_us"},
	"cpuacct": {"cpuacct.usage"},
	"pids":    {"pids.max"},
}

// Make makes the group of a node for the first process of which this is the
// process id on the host. What is there already of an earlier one is used.
func Make(ctx context.Context, d datadir.Dir, pid int, share machine.Share) Group {
	g, err := tryMake(ctx, d, pid)
	if err == nil {
		if err = g.limit(share); err != nil {
			Remove(d)
		}
	}
	if err != nil {
		return Group{Why: err.Error()}
	}
	return g
}

func tryMake(ctx context.Context, d datadir.Dir, pid int) (Group, error) {
	if !cgroups.IsCgroup2UnifiedMode() {
		if os.Geteuid() != 0 {
			return Group{}, errors.New("this system has control groups of version 1, which only root can use; the boot option systemd.unified_cgroup_hierarchy=1 switches to version 2")
		}
		return makeV1(d)
	}
	if os.Geteuid() != 0 {
		return delegated(ctx, d, pid)
	}
	path := filepath.Join(Root, Name(d))
	if err := mkdir(path); err != nil {
		return Group{}, err
	}
	// On with systemd; elsewhere they are switched on for the group's sake.
	_ = enable(Root)
	if err := checkControllers(path); err != nil {
		return Group{}, errors.Join(err, os.Remove(path))
	}
	return Group{Folders: map[string]string{"": path}}, nil
}

// Name of the group: one for each data directory.
func Name(d datadir.Dir) string {
	sum := sha256.Sum256([]byte(d.String()))
	return "studio-" + hex.EncodeToString(sum[:6])
}

func makeV1(d datadir.Dir) (Group, error) {
	hierarchies, err := hierarchiesV1()
	if err != nil {
		return Group{}, err
	}
	g := Group{Folders: map[string]string{}}
	for controller, own := range files {
		at, ok := hierarchies[controller]
		if !ok {
			return Group{}, errors.Join(fmt.Errorf("the kernel's control groups lack %q; look for cgroup_disable among its boot options", controller), Remove(d))
		}
		path := filepath.Join(at, Name(d))
		if err := mkdir(path); err != nil {
			return Group{}, errors.Join(err, Remove(d))
		}
		for _, f := range own {
			if _, err := os.Stat(filepath.Join(path, f)); err != nil {
				return Group{}, errors.Join(fmt.Errorf("the kernel's control groups lack %s", f), Remove(d))
			}
		}
		g.Folders[filepath.Base(at)] = path
	}
	return g, nil
}

// hierarchiesV1 finds where each controller of version 1 is mounted.
func hierarchiesV1() (map[string]string, error) {
	mounts, err := cgroups.GetCgroupMounts(true)
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	at := map[string]string{}
	for _, m := range mounts {
		for _, s := range m.Subsystems {
			if _, known := at[s]; !known {
				at[s] = m.Mountpoint
			}
		}
	}
	return at, nil
}

func mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making a control group: %w", err)
	}
	return nil
}

// enable switches on what is needed for the groups below a folder.
func enable(path string) error {
	return write(path, "cgroup.subtree_control", "+"+strings.Join(needed, " +"))
}

// checkControllers tells whether a group of version 2 has what is needed.
func checkControllers(path string) error {
	raw, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("making a control group: %w", err)
	}
	have := strings.Fields(string(raw))
	for _, c := range needed {
		if !slices.Contains(have, c) {
			return fmt.Errorf("control groups are to be had, but without %q; as root: printf '[Service]\\nDelegate=cpu memory pids\\n' into /etc/systemd/system/user@.service.d/delegate.conf, then `systemctl daemon-reload`, and log in anew", c)
		}
	}
	return nil
}

// limit bounds all pods together.
func (g Group) limit(s machine.Share) error {
	values := [][3]string{
		{"memory", "memory.limit_in_bytes", strconv.FormatInt(s.PodMemory(), 10)},
		{"cpu", "cpu.shares", strconv.Itoa(weight * 1024 / 100)},
		{"pids", "pids.max", strconv.FormatInt(s.Tasks, 10)},
	}
	if path, v2 := g.Folders[""]; v2 {
		for _, v := range [][2]string{{"memory.max", values[0][2]}, {"cpu.weight", strconv.Itoa(weight)}, {"pids.max", values[2][2]}} {
			if err := write(path, v[0], v[1]); err != nil {
				return err
			}
		}
		return enable(path)
	}
	for _, v := range values {
		for hierarchy, path := range g.Folders {
			if slices.Contains(strings.Split(hierarchy, ","), v[0]) {
				if err := write(path, v[1], v[2]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func write(path, file, value string) error {
	if err := os.WriteFile(filepath.Join(path, file), []byte(value), 0); err != nil {
		return fmt.Errorf("limiting what all pods use: %w", err)
	}
	return nil
}

// Remove removes the group of a node whose processes have ended, whatever made
// it. None is no error. A scope goes away by itself.
func Remove(d datadir.Dir) error {
	places := []string{Root}
	if !cgroups.IsCgroup2UnifiedMode() {
		var err error
		if places, err = filepath.Glob(filepath.Join(Root, "*")); err != nil {
			return err
		}
	}
	var errs []error
	for _, place := range places {
		path := filepath.Join(place, Name(d))
		if err := unix.Access(path, unix.F_OK); err != nil {
			continue
		}
		if err := cgroups.RemovePath(path); err != nil {
			errs = append(errs, fmt.Errorf("removing the pods' control group: %w", err))
		}
	}
	return errors.Join(errs...)
}
