// Package localcluster is what the rest of Studio knows of a cluster on this
// machine: a small interface and the progress it reports. The drivers lie in
// the folders below; everything above speaks to the Kubernetes API and does not
// know which driver it is on.
package localcluster

import (
	"context"
	"time"
)

// State says how far a phase is.
type State string

// The states of a phase. Info carries a message that belongs to no change of state.
const (
	Started State = "started"
	Done    State = "done"
	Failed  State = "failed"
	Info    State = "info"
)

// Event is one step of progress. `studio up --json` prints one a line.
type Event struct {
	Time    time.Time `json:"time"`
	Phase   string    `json:"phase"`
	State   State     `json:"state"`
	Message string    `json:"message,omitempty"`
	// Seconds is how long the phase took; set when it is done or failed.
	Seconds float64 `json:"seconds,omitempty"`
}

// Progress receives events in order. It must not block for long.
type Progress func(Event)

// Status is what a driver knows of its cluster without changing anything.
type Status struct {
	Driver string `json:"driver"`
	// Running: the API server answers. Pods: pods may be running although it does not.
	Running bool `json:"running"`
	Pods    bool `json:"podsKept"`
	// APIServer is the URL that the kubeconfig names.
	APIServer  string `json:"apiServer,omitempty"`
	Version    string `json:"version,omitempty"`
	DataDir    string `json:"dataDir,omitempty"`
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Images says what pods run from: auto, oci or host.
	Images    string            `json:"images,omitempty"`
	Processes []Process         `json:"processes,omitempty"`
	Phases    map[string]string `json:"phases,omitempty"`
	// Warnings are sentences about what this machine cannot do, with the cure.
	Warnings []string `json:"warnings,omitempty"`
}

// Process is one part of the engine.
type Process struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid,omitempty"`
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts,omitempty"`
	Message  string    `json:"message,omitempty"`
}

// Cluster is one local cluster.
type Cluster interface {
	// Up starts it, or does nothing when it is up. It returns when the API, the
	// node and the platform's controllers are ready.
	Up(ctx context.Context, progress Progress) error
	// Stop ends the engine; pods go on.
	Stop(ctx context.Context, progress Progress) error
	// Down ends the pods with grace, then the engine. Data stays.
	Down(ctx context.Context, progress Progress) error
	// Delete is Down and removes the data.
	Delete(ctx context.Context, progress Progress) error
	// Status never starts anything.
	Status(ctx context.Context) (Status, error)
}
