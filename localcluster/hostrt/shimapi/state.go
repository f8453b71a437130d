package shimapi

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Config is what the engine tells a new shim, as JSON in its first argument.
type Config struct {
	// Dir is the sandbox's folder.
	Dir string `json:"dir"`
	// Hostname of the pod; empty keeps the node's.
	Hostname string `json:"hostname,omitempty"`
	// Sysctls of the pod's namespaces, by their dotted names.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Tasks are the processes and threads that a PID namespace of the pod may have,
	// UserTasks those of all pods with the same user; 0 is no limit.
	Tasks     int64 `json:"tasks,omitempty"`
	UserTasks int64 `json:"userTasks,omitempty"`
	// Groups is the folder of the control groups that the pod's lies in, if there are any.
	Groups string `json:"groups,omitempty"`
}

// Descriptors that a shim inherits: its socket and its own program.
const (
	ListenFD  = 3
	ProgramFD = 4
)

// WriteState stores a state so that a reader sees the old or the new one. It
// does not wait for the disk: after a power cut the whole pod is of another
// boot, and what its end was told to is the API server, which does wait.
func WriteState(dir string, st State) error {
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, StateName)
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}
