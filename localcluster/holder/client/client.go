// Package client speaks to a holder over its Unix socket, and holds the forms
// of what is said. It links neither Kubernetes nor the network stack.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/ownsocket"
	"github.com/mlstudio/studio/localcluster/pidfd"
)

// Status is the answer of GET /v1/status.
type Status struct {
	// ID is new at each start of a holder.
	ID string `json:"id"`
	// Mapping says how ids are mapped: none (root), single or range.
	Mapping string `json:"mapping"`
	// Version of the program that runs the holder.
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
	Node    Node      `json:"node"`
	// Pods: processes of pods are running.
	Pods bool `json:"pods"`
	// Warnings are sentences for the user, such as that subordinate ids are missing.
	Warnings []string `json:"warnings,omitempty"`
	// PID of the holder as this process sees it; the client fills it in.
	PID int `json:"pid,omitempty"`
}

// Node is the state of the node half.
type Node struct {
	// State is stopped, running or waiting (for the next start after a crash).
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts,omitempty"`
	// Message says how the last one ended.
	Message string `json:"message,omitempty"`
	// Phases hold the last event of each phase since the node half started.
	Phases []localcluster.Event `json:"phases,omitempty"`
}

// Allow opens a folder of the host to the node at its own path.
type Allow struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly"`
}

// Shutdown ends the pods with grace, then the holder.
type Shutdown struct {
	// GraceSeconds that all pods together have at most; zero: what each asks for.
	GraceSeconds float64 `json:"graceSeconds,omitempty"`
}

// ErrNotRunning means that no holder serves the data directory.
var ErrNotRunning = errors.New("no holder is running")

// Client calls one holder. Each call makes a connection of its own.
type Client struct{ holder *ownsocket.Caller }

// New returns a client for the holder of a data directory, running or not.
func New(d datadir.Dir) *Client {
	return &Client{ownsocket.NewCaller(d.HolderSocket(), "the holder", ErrNotRunning)}
}

// Status asks for the state of the holder. Without one it returns ErrNotRunning.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	if err := c.call(ctx, http.MethodGet, "/v1/status", nil, &s); err != nil {
		return s, err
	}
	pid, err := c.holder.Server(ctx)
	s.PID = pid
	return s, err
}

// StartNode starts the node half, or does nothing when it is wanted already.
func (c *Client) StartNode(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/node/start", struct{}{}, nil)
}

// StopNode ends the node half; pods go on. It returns when it has ended.
func (c *Client) StopNode(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/node/stop", struct{}{}, nil)
}

// Allow opens a folder of the host to the node.
func (c *Client) Allow(ctx context.Context, a Allow) error {
	return c.call(ctx, http.MethodPost, "/v1/allow", a, nil)
}

// Shutdown ends the pods and the holder. It returns when the holder and all
// processes in its namespaces are gone.
func (c *Client) Shutdown(ctx context.Context, s Shutdown) error {
	pid, err := c.holder.Server(ctx)
	if err != nil {
		return err
	}
	p, err := pidfd.Open(pid)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := c.call(ctx, http.MethodPost, "/v1/shutdown", s, nil); err != nil {
		return err
	}
	return pidfd.Wait(ctx, p)
}

// Kill ends the holder and with it all pods at once, as a crash would.
func (c *Client) Kill(ctx context.Context) error {
	pid, err := c.holder.Server(ctx)
	if err != nil {
		return err
	}
	p, err := pidfd.Open(pid)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := unix.PidfdSendSignal(int(p.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the holder: %w", err)
	}
	return pidfd.Wait(ctx, p)
}

// Events calls f for the last event of each phase of the node, then for each
// new one, until ctx or the holder ends; the latter returns nil.
func (c *Client) Events(ctx context.Context, f func(localcluster.Event)) error {
	res, err := c.holder.Send(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for dec := json.NewDecoder(res.Body); ; {
		var e localcluster.Event
		if err := dec.Decode(&e); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return nil // However the stream breaks, the process at its end is gone.
		}
		f(e)
	}
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	res, err := c.holder.Send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the holder's answer: %w", err)
	}
	return nil
}
