// Package shimapi is what hostrt and the shims say to each other: one request a
// connection on a Unix socket in the sandbox's folder, JSON behind a length,
// file descriptors beside it. It is small on purpose: a shim outlives the
// engine that started it, so an old shim must understand a newer engine.
package shimapi

import "fmt"

// Names in a sandbox's folder.
const (
	SocketName = "shim.sock"
	LogName    = "shim.log"
	ShmName    = "shm"
	// FailedName says why a shim could not begin to serve.
	FailedName = "failed"
	// StateName lies in a container's folder and is written by the shim.
	StateName = "state.json"
)

// Op names a request.
type Op string

// The requests. Watch answers with every container's state, then an empty one
// that says that these were all, then each change. Exec and Attach answer when
// they have begun and again at the end; closing the connection ends them.
const (
	OpStart    Op = "start"
	OpSignal   Op = "signal"
	OpExec     Op = "exec"
	OpAttach   Op = "attach"
	OpResize   Op = "resize"
	OpReopen   Op = "reopen"
	OpLimit    Op = "limit"
	OpWatch    Op = "watch"
	OpShutdown Op = "shutdown"
)

// Request is the first message on a connection.
type Request struct {
	Op Op `json:"op"`
	// ID of the container.
	ID     string   `json:"id,omitempty"`
	Spec   *Spec    `json:"spec,omitempty"`
	Limits *Limits  `json:"limits,omitempty"`
	Exec   *Process `json:"exec,omitempty"`
	TTY    bool     `json:"tty,omitempty"`
	Signal int      `json:"signal,omitempty"`
	Width  uint16   `json:"width,omitempty"`
	Height uint16   `json:"height,omitempty"`
	// Streams says which of stdin, stdout and stderr are among the descriptors, in that order.
	Streams [3]bool `json:"streams,omitempty"`
}

// Response is every message back.
type Response struct {
	Error *Error `json:"error,omitempty"`
	State *State `json:"state,omitempty"`
	// Done marks the end of Exec and Attach; Code is the exit code of an Exec.
	Done bool `json:"done,omitempty"`
	Code int  `json:"code,omitempty"`
}

// Error is a failure that crossed the socket.
type Error struct {
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
	// Code is the exit code that stands for the failure: 126, 127 or 128.
	Code int `json:"code,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error without a reason.
func Errorf(format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...)}
}

// Spec is all a shim needs to start a container.
type Spec struct {
	ID string `json:"id"`
	// Dir is the container's folder: its state lies there.
	Dir string `json:"dir"`
	// Root is the folder that becomes /.
	Root string `json:"root"`
	// Overlay is mounted on Root first, where an image is the root.
	Overlay      *Overlay `json:"overlay,omitempty"`
	ReadOnlyRoot bool     `json:"readOnlyRoot,omitempty"`
	Mounts       []Mount  `json:"mounts"`
	Devices      []Device `json:"devices,omitempty"`
	Masked       []string `json:"masked,omitempty"`
	ReadOnly     []string `json:"readOnly,omitempty"`
	Process      Process  `json:"process"`
	// Seccomp filters the system calls; nil does not.
	Seccomp *Seccomp `json:"seccomp,omitempty"`
	// LogPath is the file for standard output and error, in CRI's format.
	LogPath   string  `json:"logPath,omitempty"`
	TTY       bool    `json:"tty,omitempty"`
	Stdin     bool    `json:"stdin,omitempty"`
	StdinOnce bool    `json:"stdinOnce,omitempty"`
	PID       PIDMode `json:"pid,omitempty"`
	// PIDOf is the container whose PID namespace is joined with PIDTarget.
	PIDOf  string `json:"pidOf,omitempty"`
	Limits Limits `json:"limits,omitzero"`
}

// Limits are what a container may use; 0 is no limit. With a control group the
// kernel holds them, without one the shim watches memory and tasks.
type Limits struct {
	// Group is the container's control group, from the tree that the shim sees.
	Group string `json:"group,omitempty"`
	// Memory in bytes.
	Memory int64 `json:"memory,omitempty"`
	// CPUQuota and CPUPeriod in microseconds; CPUShares is a weight, 1024 a processor.
	CPUQuota  int64  `json:"cpuQuota,omitempty"`
	CPUPeriod uint64 `json:"cpuPeriod,omitempty"`
	CPUShares uint64 `json:"cpuShares,omitempty"`
	// Tasks are processes and threads.
	Tasks int64 `json:"tasks,omitempty"`
	// Unified are further files of a version 2 group.
	Unified map[string]string `json:"unified,omitempty"`
	// Nice is how far the container steps back for others, without a group.
	Nice int `json:"nice,omitempty"`
	// OOMScore is how early the kernel ends the container when the machine has no memory left.
	OOMScore int `json:"oomScore,omitempty"`
}

// Seccomp is a filter of system calls.
type Seccomp struct {
	// Name is for messages.
	Name string `json:"name"`
	// Profile is the filter in Docker's and the OCI's JSON; nil is the default one.
	Profile []byte `json:"profile,omitempty"`
}

// PIDMode says whose processes a container sees.
type PIDMode string

// The PID modes: its own, the whole pod's, the node's, or one other container's.
const (
	PIDOwn    PIDMode = ""
	PIDPod    PIDMode = "pod"
	PIDNode   PIDMode = "node"
	PIDTarget PIDMode = "target"
)

// Process is a command and as whom it runs.
type Process struct {
	Args            []string `json:"args"`
	Env             []string `json:"env"`
	Cwd             string   `json:"cwd"`
	UID             uint32   `json:"uid"`
	GID             uint32   `json:"gid"`
	Groups          []uint32 `json:"groups,omitempty"`
	Capabilities    []string `json:"capabilities,omitempty"`
	NoNewPrivileges bool     `json:"noNewPrivileges,omitempty"`
}

// Overlay is a root file system out of an image's layers.
type Overlay struct {
	// Lower are the layers' folders, the topmost first.
	Lower []string `json:"lower"`
	Upper string   `json:"upper"`
	Work  string   `json:"work"`
	// Options begin with a comma.
	Options string `json:"options"`
}

// OwnFolder is the type of a mount without a source: the root's own folder at
// the target, made where it is missing, which stays writable in a root that is not.
const OwnFolder = "own-folder"

// ImageVolume is the type of a mount of an image's layers. Its source is a
// folder of the container's for what it takes to mount them.
const ImageVolume = "image"

// Mount is one mount below the root, in order.
type Mount struct {
	Source string `json:"source"`
	Target string `json:"target"`
	// Type is bind, overlay, tmpfs, proc, sysfs, devpts or mqueue.
	Type     string `json:"type"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	// RecursiveReadOnly extends ReadOnly to the mounts below.
	RecursiveReadOnly bool `json:"recursiveReadOnly,omitempty"`
	// Flags are further MS_ flags; Data is the file system's own option string.
	Flags int    `json:"flags,omitempty"`
	Data  string `json:"data,omitempty"`
	// Layers of an image volume, the topmost first, and the part of it that is wanted.
	Layers  []string `json:"layers,omitempty"`
	SubPath string   `json:"subPath,omitempty"`
	// Slave lets later mounts of the node appear below a bind.
	Slave bool `json:"slave,omitempty"`
	// Shared lets also the container's mounts appear on the node. The bind's
	// source then comes as a descriptor beside the request, one for each such
	// mount in order: the shim's own mounts are cut off from the node's.
	Shared bool `json:"shared,omitempty"`
}

// Device is a device of the host that the container may use.
type Device struct {
	Source string `json:"source"`
	Target string `json:"target"`
	Access string `json:"access"`
}

// Phase of a container.
type Phase string

// The phases that a shim reports.
const (
	Running Phase = "running"
	Exited  Phase = "exited"
)

// State is what is known of a container's process. Times are in nanoseconds
// since 1970. The shim stores it before it tells.
type State struct {
	ID    string `json:"id"`
	Phase Phase  `json:"phase"`
	// PID in the node's PID namespace, and when that process started, in the
	// kernel's ticks: together they name one process for ever.
	PID        int    `json:"pid,omitempty"`
	PIDStart   uint64 `json:"pidStart,omitempty"`
	StartedAt  int64  `json:"startedAt,omitempty"`
	FinishedAt int64  `json:"finishedAt,omitempty"`
	ExitCode   int    `json:"exitCode"`
	Signal     int    `json:"signal,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Message    string `json:"message,omitempty"`
}
