// Package client speaks to the engine over its Unix socket and holds the forms
// of what is said. The command line, the window and tests use it alike; it
// links nothing of Kubernetes.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/ownsocket"
	"github.com/mlstudio/studio/localcluster/projects"
)

// State is all that the engine knows of itself.
type State struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"startedAt"`
	// Ready: API, node and platform are.
	Ready bool `json:"ready"`
	// Stopping: the engine is on its way out.
	Stopping bool `json:"stopping,omitempty"`
	// Phases hold the last event of each phase, in the order in which they began.
	Phases    []localcluster.Event   `json:"phases"`
	Processes []localcluster.Process `json:"processes"`
	Warnings  []string               `json:"warnings,omitempty"`
	// Watched are the projects whose folders are watched because a stream asks for it.
	Watched []Watched `json:"watched,omitempty"`
}

// Watched is how the watching of one project's folder stands.
type Watched struct {
	Project string `json:"project"`
	Dir     string `json:"dir"`
	// Ready: what changes from now on comes as Files.
	Ready   bool `json:"ready"`
	Files   int  `json:"files"`
	Folders int  `json:"folders"`
	// Polled is how many of the folders give no events and are compared at intervals.
	Polled int      `json:"polled,omitempty"`
	Notes  []string `json:"notes,omitempty"`
	Error  string   `json:"error,omitempty"`
}

// Files is what changed together in a project's folder. Paths count from there.
type Files struct {
	Project  string    `json:"project"`
	Time     time.Time `json:"time"`
	Added    []string  `json:"added,omitempty"`
	Modified []string  `json:"modified,omitempty"`
	Removed  []string  `json:"removed,omitempty"`
	// Count is how many files changed; the lists hold at most MaxFiles of them.
	Count int `json:"count"`
	// Compared: events were lost, and the whole folder was compared instead.
	Compared bool `json:"compared,omitempty"`
}

// MaxFiles is how many paths one Files names.
const MaxFiles = 1000

// Message is one line of the state stream: the whole state first, then what
// changes it. Seq grows by one a message and resumes a broken stream.
type Message struct {
	Seq   uint64              `json:"seq"`
	State *State              `json:"state,omitempty"`
	Event *localcluster.Event `json:"event,omitempty"`
	// Ready comes with an event that changed it.
	Ready *bool  `json:"ready,omitempty"`
	Files *Files `json:"files,omitempty"`
}

// ErrNotRunning means that no engine serves the data directory.
var ErrNotRunning = errors.New("the engine is not running")

// Client calls the engine of one data directory.
type Client struct{ engine *ownsocket.Caller }

// New returns a client, whether or not the engine runs.
func New(d datadir.Dir) *Client {
	return &Client{ownsocket.NewCaller(d.EngineSocket(), "the engine", ErrNotRunning)}
}

// State asks once. Without an engine it returns ErrNotRunning.
func (c *Client) State(ctx context.Context) (State, error) {
	var s State
	res, err := c.send(ctx, http.MethodGet, "/v1/state", nil)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	return s, json.NewDecoder(res.Body).Decode(&s)
}

// Watch calls f for each message after since (0: from the whole state on) until
// f returns false, ctx ends or the engine does; the latter returns ErrNotRunning.
// As long as it runs, the folders of the named projects are watched.
func (c *Client) Watch(ctx context.Context, since uint64, f func(Message) bool, projects ...string) error {
	query := url.Values{"since": {strconv.FormatUint(since, 10)}, "files": {strings.Join(projects, ",")}}
	res, err := c.send(ctx, http.MethodGet, "/v1/events?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for dec := json.NewDecoder(res.Body); ; {
		var m Message
		if err := dec.Decode(&m); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return ErrNotRunning
		}
		if !f(m) {
			return nil
		}
	}
}

// Stop asks the engine to end and leave the pods; Watch shows how it goes.
func (c *Client) Stop(ctx context.Context) error { return c.post(ctx, "/v1/stop", nil) }

// Down asks the engine to end the pods with grace, then itself.
func (c *Client) Down(ctx context.Context) error { return c.post(ctx, "/v1/down", nil) }

// RegisterProject stores a project and opens its folders to its pods.
func (c *Client) RegisterProject(ctx context.Context, p projects.Project) error {
	return c.post(ctx, "/v1/projects", p)
}

func (c *Client) post(ctx context.Context, path string, body any) error {
	res, err := c.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	res, err := c.engine.Send(ctx, method, path, body)
	var refusal *ownsocket.Refusal
	if errors.As(err, &refusal) && refusal.Status == refusedStatus {
		return nil, readRefusal(bytes.NewReader(refusal.Body))
	}
	return res, err
}
