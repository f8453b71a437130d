package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// systemdPatience is how long systemd may take to make a scope.
const systemdPatience = 5 * time.Second

// The two groups in a scope: one with processes of the engine, one with pods.
// A group of version 2 has either processes or groups that are limited.
const (
	engineGroup = "engine"
	podsGroup   = "pods"
)

// delegated asks the user's systemd for a scope around the process, whose part
// of the tree is then this user's.
func delegated(ctx context.Context, d datadir.Dir, pid int) (Group, error) {
	ctx, cancel := context.WithTimeout(ctx, systemdPatience)
	defer cancel()
	path, err := startScope(ctx, fmt.Sprintf("%s-%d.scope", Name(d), pid), pid)
	if err != nil {
		return Group{}, fmt.Errorf("control groups of a plain user come from systemd's user manager, which gives none here (%w); log in so that one runs (`loginctl enable-linger` keeps it), or run Studio as root", err)
	}
	engine, pods := filepath.Join(path, engineGroup), filepath.Join(path, podsGroup)
	for _, p := range []string{engine, pods} {
		if err := mkdir(p); err != nil {
			return Group{}, err
		}
	}
	if err := write(engine, "cgroup.procs", strconv.Itoa(pid)); err != nil {
		return Group{}, err
	}
	if err := checkControllers(path); err != nil {
		return Group{}, err
	}
	if err := enable(path); err != nil {
		return Group{}, err
	}
	return Group{Folders: map[string]string{"": pods}}, nil
}

// startScope returns the folder of a new scope.
func startScope(ctx context.Context, unit string, pid int) (string, error) {
	if os.Getenv("XDG_RUNTIME_DIR") == "" {
		return "", errors.New("XDG_RUNTIME_DIR is not set")
	}
	conn, err := dbus.NewUserConnectionContext(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	result := make(chan string, 1)
	properties := []dbus.Property{
		dbus.PropDescription("The pods of Studio"),
		{Name: "PIDs", Value: godbus.MakeVariant([]uint32{uint32(pid)})},
		{Name: "Delegate", Value: godbus.MakeVariant(true)},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}
	if _, err := conn.StartTransientUnitContext(ctx, unit, "replace", properties, result); err != nil {
		return "", err
	}
	select {
	case r := <-result:
		if r != "done" {
			return "", fmt.Errorf("starting %s: %s", unit, r)
		}
	case <-ctx.Done():
		return "", ctx.Err()
	}
	p, err := conn.GetUnitTypePropertyContext(ctx, unit, "Scope", "ControlGroup")
	if err != nil {
		return "", err
	}
	path, ok := p.Value.Value().(string)
	if !ok || path == "" {
		return "", fmt.Errorf("%s has no control group", unit)
	}
	return filepath.Join(Root, path), nil
}
