package datadir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

type ports struct {
	API int `json:"api"`
}

// APIPort reads the API server's port on 127.0.0.1. Before the first start the
// error wraps os.ErrNotExist.
func (d Dir) APIPort() (int, error) {
	raw, err := os.ReadFile(d.Ports())
	if err != nil {
		return 0, fmt.Errorf("reading the API server's port: %w", err)
	}
	var p ports
	if err := json.Unmarshal(raw, &p); err != nil || p.API < 1 || p.API > 65535 {
		return 0, fmt.Errorf("reading the API server's port: %s is damaged; remove it to have a new port chosen", d.Ports())
	}
	return p.API, nil
}

// KeepAPIPort remembers the API server's port: kubeconfigs name it.
func (d Dir) KeepAPIPort(port int) error {
	raw, err := json.Marshal(ports{API: port})
	if err != nil {
		return err
	}
	return WriteFile(d.Ports(), append(raw, '\n'), 0o600)
}

// ErrPortTaken means that another program listens on the API server's port.
var ErrPortTaken = errors.New("the port is taken by another program")

const (
	// A killed process lets its lock go a moment before its sockets.
	socketLag = 300 * time.Millisecond
	// A killed control plane takes this long at most to give its memory back.
	deathLag = 10 * time.Second
)

func (d Dir) controlPlaneLock() string { return d.join("run", "control-plane.lock") }

// LockControlPlane marks that this process holds the API server's port, until
// it ends. It waits for an earlier one that is dying.
func (d Dir) LockControlPlane(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deathLag)
	defer cancel()
	f, err := os.OpenFile(d.controlPlaneLock(), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("marking the control plane: %w", err)
	}
	if err := flock(ctx, f); err != nil {
		return fmt.Errorf("waiting for an earlier control plane to end: %w", err)
	}
	// A descriptor of its own is never closed, nor collected with f: the kernel
	// lets go of the lock when the process ends.
	_, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return err
}

// AwaitPort returns nil when a new control plane could listen on the port on
// 127.0.0.1. Where an earlier one of this folder is dying it waits for its end;
// what then still holds the port is another program: ErrPortTaken.
func (d Dir) AwaitPort(ctx context.Context, port int) error {
	err := tryPort(ctx, port)
	if !errors.Is(err, ErrPortTaken) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, deathLag)
	defer cancel()
	if err := waitUnlocked(ctx, d.controlPlaneLock()); err != nil {
		return fmt.Errorf("waiting for an earlier control plane to end: %w", err)
	}
	return PortFree(ctx, port)
}

// PortFree returns nil when the port on 127.0.0.1 can be listened on, and
// ErrPortTaken when another program does.
func PortFree(ctx context.Context, port int) error {
	// The kernel has no event for a port that becomes free.
	for end := time.Now().Add(socketLag); ; {
		err := tryPort(ctx, port)
		if !errors.Is(err, ErrPortTaken) || time.Now().After(end) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func tryPort(ctx context.Context, port int) error {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, unix.EADDRINUSE) {
		return ErrPortTaken
	}
	if err != nil {
		return err
	}
	return l.Close()
}
