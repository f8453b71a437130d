package hostrt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	sysuser "github.com/moby/sys/user"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// user is as whom a container runs.
type user struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	// Home is what the image says of it, empty where the machine stands in.
	Home string `json:"home,omitempty"`
}

// status is the user as the kubelet wants to hear of it. A container that a
// former version has made has none.
func (u *user) status() *rt.ContainerUser {
	if u == nil {
		return nil
	}
	l := &rt.LinuxContainerUser{Uid: int64(u.UID), Gid: int64(u.GID)}
	for _, g := range u.Groups {
		l.SupplementalGroups = append(l.SupplementalGroups, int64(g))
	}
	return &rt.ContainerUser{Linux: l}
}

// idMap says which user and group numbers exist here.
type idMap struct {
	users, groups []sysuser.IDMap
	// oneGroup: the kernel lets nobody here change the list of groups.
	oneGroup bool
}

func readIDMap() (m idMap, err error) {
	if m.users, err = sysuser.ParseIDMapFile("/proc/self/uid_map"); err == nil {
		m.groups, err = sysuser.ParseIDMapFile("/proc/self/gid_map")
	}
	if err != nil {
		return m, fmt.Errorf("reading the mapped users: %w", err)
	}
	raw, err := os.ReadFile("/proc/self/setgroups")
	m.oneGroup = err == nil && bytes.HasPrefix(raw, []byte("deny"))
	return m, nil
}

func mapped(ranges []sysuser.IDMap, id int64) bool {
	return slices.ContainsFunc(ranges, func(r sysuser.IDMap) bool { return id >= r.ID && id-r.ID < r.Count })
}

// cureUnmapped is what to do about a user that does not exist here.
const cureUnmapped = "this node runs without root and has a range of users only with newuidmap: install the package uidmap, see that /etc/subuid and /etc/subgid name you, then `studio down` and `studio up`"

// accounts are the files that name the users and groups of a container's root.
type accounts struct{ passwd, group string }

// hostAccounts are the machine's, which stands in for the image.
var hostAccounts = accounts{"/etc/passwd", "/etc/group"}

// find looks a user up; a number need not be listed.
func (a accounts) find(spec string) (*sysuser.ExecUser, error) {
	u, err := sysuser.GetExecUserPath(spec, nil, a.passwd, a.group)
	if errors.Is(err, sysuser.ErrNoPasswdEntries) {
		return nil, fmt.Errorf("the container is to run as user %q, whom this machine does not know: set runAsUser to a number", spec)
	}
	if err != nil {
		return nil, fmt.Errorf("the container is to run as user %q: %w", spec, err)
	}
	return u, nil
}

// resolveUser works out as whom a container runs: what the pod says, then what
// the image says, then root. The groups are those that the accounts name for
// the user (unless the policy is Strict) and those of the pod.
func (s *Server) resolveUser(c *container) (*user, error) {
	sec := c.cfg.GetLinux().GetSecurityContext()
	name := "0"
	switch {
	case sec.GetRunAsUser() != nil:
		name = strconv.FormatInt(sec.GetRunAsUser().GetValue(), 10)
	case sec.GetRunAsUsername() != "":
		name = sec.GetRunAsUsername()
	case c.image != nil && c.image.Config.User != "":
		name = c.image.Config.User
	}
	find := hostAccounts.find
	if c.image != nil {
		find = c.image.findUser
	}
	found, err := find(name)
	if err != nil {
		return nil, err
	}
	gid := int64(found.Gid)
	if g := sec.GetRunAsGroup(); g != nil {
		gid = g.GetValue()
	}
	if !mapped(s.ids.users, int64(found.Uid)) {
		return nil, fmt.Errorf("the container is to run as user %d, who does not exist on this node: %s", found.Uid, cureUnmapped)
	}
	if !mapped(s.ids.groups, gid) {
		return nil, fmt.Errorf("the container is to run as group %d, which does not exist on this node: %s", gid, cureUnmapped)
	}
	u := &user{UID: uint32(found.Uid), GID: uint32(gid)}
	if c.image != nil {
		u.Home = found.Home
	}
	if s.ids.oneGroup {
		s.warnOneGroup(c)
		return u, nil
	}
	// The first of the list is the process' own group, as login programs have it.
	u.add(gid)
	if sec.GetSupplementalGroupsPolicy() == rt.SupplementalGroupsPolicy_Merge {
		for _, g := range found.Sgids {
			if mapped(s.ids.groups, int64(g)) {
				u.add(int64(g))
			}
		}
	}
	for _, g := range sec.GetSupplementalGroups() {
		if !mapped(s.ids.groups, g) {
			s.warnGroup(c, g)
			continue
		}
		u.add(g)
	}
	return u, nil
}

func (u *user) add(gid int64) {
	if !slices.Contains(u.Groups, uint32(gid)) {
		u.Groups = append(u.Groups, uint32(gid))
	}
}

func (s *Server) warnOneGroup(c *container) {
	for _, g := range c.cfg.GetLinux().GetSecurityContext().GetSupplementalGroups() {
		if g != 0 {
			s.warnGroup(c, g)
		}
	}
}

func (s *Server) warnGroup(c *container, g int64) {
	s.once(c.pod, fmt.Sprintf("UnmappedGroup %d", g), Event{Warning: true, Reason: "UnmappedGroup", Message: fmt.Sprintf("group %d does not exist on this node and is left out: %s", g, cureUnmapped)})
}
