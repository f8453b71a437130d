// Package sandbox is the only part that knows runc's libcontainer, whose Go
// API is not promised: it turns a shimapi.Spec into running, confined
// processes. Only the shim links it, for it brings a C constructor that runs
// before main.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters namespaces before Go's threads exist
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/limits"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
)

// InitArg is the argument with which libcontainer runs this program again as
// the first stage of a container's process.
const InitArg = "init"

// Init is that first stage. It never returns.
func Init() {
	runtime.GOMAXPROCS(1)
	// This thread is the one that becomes the container's process.
	runtime.LockOSThread()
	// The processes of a killed shim must not go on without a log or an exit
	// code. Libcontainer's own setting is lost in its forks; one that is made
	// here it keeps over a change of the user.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "binding the container to its shim:", err)
		os.Exit(1)
	}
	BoundNamespace()
	libcontainer.Init()
}

// Container is one started container.
type Container struct {
	lc   *libcontainer.Container
	init *Process
}

// Process is one started process of a container.
type Process struct {
	lp  *libcontainer.Process
	pid int
}

// IO is what a process gets as its streams: either a terminal, whose other end
// is sent over Console, or files; nil is the null device.
type IO struct {
	Stdin, Stdout, Stderr *os.File
	Console               *os.File
}

// Start makes a container and runs its command. pidNS, if not empty, is the
// path of a PID namespace to join. A command that cannot be run is a
// *shimapi.Error with a reason and an exit code. Between the two, before
// anything of the container's own runs, ready is called with its process.
func Start(spec *shimapi.Spec, pidNS string, stdio IO, ready func(pid int)) (*Container, error) {
	logrus.SetLevel(logrus.ErrorLevel)
	unmount, err := mountImages(spec)
	if err != nil {
		return nil, err
	}
	defer unmount()
	config, err := newConfig(spec, pidNS)
	if err != nil {
		return nil, err
	}
	lc, err := libcontainer.Create(filepath.Join(spec.Dir, "lc"), "c", config)
	if err != nil {
		return nil, startError(&spec.Process, err)
	}
	// libcontainer wants device rules for a start and none for the creation
	// where no device cgroup is there.
	config.Cgroups.Resources.SkipDevices = false
	p := newProcess(&spec.Process, stdio)
	p.lp.Init = true
	if err := OnParent(func() error { return lc.Start(p.lp) }); err != nil {
		return nil, startError(&spec.Process, errors.Join(err, lc.Destroy()))
	}
	if p.pid, err = p.lp.Pid(); err != nil {
		return nil, err
	}
	ready(p.pid)
	if err := lc.Exec(); err != nil {
		return nil, startError(&spec.Process, errors.Join(err, lc.Destroy()))
	}
	return &Container{lc: lc, init: p}, nil
}

// Init returns the container's first process.
func (c *Container) Init() *Process { return c.init }

// Exec runs a further command in the container.
func (c *Container) Exec(cmd *shimapi.Process, stdio IO) (*Process, error) {
	p := newProcess(cmd, stdio)
	if err := OnParent(func() error { return c.lc.Run(p.lp) }); err != nil {
		return nil, startError(cmd, err)
	}
	var err error
	p.pid, err = p.lp.Pid()
	return p, err
}

// Limit changes what the container's control group may use.
func (c *Container) Limit(l shimapi.Limits) error {
	config := c.lc.Config()
	own := *config.Cgroups
	own.Resources = limits.Resources(l)
	config.Cgroups = &own
	return c.lc.Set(config)
}

// Destroy removes what libcontainer keeps of an ended container.
func (c *Container) Destroy() error { return c.lc.Destroy() }

// PID of the process in the shim's PID namespace.
func (p *Process) PID() int { return p.pid }

// Signal sends a signal. A process that is gone is no error.
func (p *Process) Signal(sig int) error {
	err := p.lp.Signal(unix.Signal(sig))
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, unix.ESRCH) || errors.Is(err, libcontainer.ErrNotRunning) {
		return nil
	}
	return err
}

// Wait waits for the end: the exit code (128 and the signal's number for a
// signal) and the signal, 0 for none.
func (p *Process) Wait() (code, signal int) {
	state, err := p.lp.Wait()
	if state == nil {
		var exit interface{ ExitCode() int }
		if errors.As(err, &exit) {
			return exit.ExitCode(), 0
		}
		return 255, 0
	}
	if ws, ok := state.Sys().(interface {
		Signaled() bool
		Signal() unix.Signal
	}); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), int(ws.Signal())
	}
	return state.ExitCode(), 0
}

func newProcess(cmd *shimapi.Process, stdio IO) *Process {
	groups := make([]int, len(cmd.Groups))
	for i, g := range cmd.Groups {
		groups[i] = int(g)
	}
	nnp := cmd.NoNewPrivileges
	lp := &libcontainer.Process{
		Args: cmd.Args, Env: cmd.Env, Cwd: cmd.Cwd,
		UID: int(cmd.UID), GID: int(cmd.GID), AdditionalGroups: groups,
		Capabilities: capabilities(cmd), NoNewPrivileges: &nnp,
		ConsoleSocket: stdio.Console,
	}
	// A nil *os.File in an interface would not be nil.
	if stdio.Stdin != nil {
		lp.Stdin = stdio.Stdin
	}
	if stdio.Stdout != nil {
		lp.Stdout = stdio.Stdout
	}
	if stdio.Stderr != nil {
		lp.Stderr = stdio.Stderr
	}
	return &Process{lp: lp}
}

// startError says why a command did not start, in words a user can act on.
// libcontainer's errors cross a pipe as text, so text is all there is to look at.
func startError(cmd *shimapi.Process, err error) error {
	text := err.Error()
	command := ""
	if len(cmd.Args) > 0 {
		command = cmd.Args[0]
	}
	e := &shimapi.Error{Reason: "ContainerCannotRun", Code: 128, Message: text}
	at := strings.Index(text, "exec: ")
	switch {
	case strings.Contains(text, "executable file not found in $PATH"):
		e.Code = 127
		e.Message = fmt.Sprintf("exec: %q: executable file not found in $PATH (%s): install it there or correct the command", command, envOf(cmd, "PATH"))
	case at >= 0 && strings.Contains(text, "no such file or directory"):
		e.Code = 127
		e.Message = fmt.Sprintf("exec: %q: no such file in the container: correct the path, or mount what it lies in", command)
	case at >= 0 && strings.Contains(text, "permission denied"):
		e.Code = 126
		e.Message = fmt.Sprintf("exec: %q: permission denied: make the file executable (chmod +x), and check the user that the container runs as", command)
	case cmd.Cwd != "/" && (strings.Contains(text, "mkdir ") || strings.Contains(text, "chdir ")):
		e.Message = fmt.Sprintf("working directory %q: %s: correct workingDir, or make the folder writable for the user that the container runs as", cmd.Cwd, last(text))
	case at >= 0 && strings.Contains(text, "is a directory"):
		e.Code = 126
		e.Message = fmt.Sprintf("exec: %q: is a folder, not a command", command)
	}
	return e
}

// last is the cause at the end of a chain of errors.
func last(text string) string { return strings.TrimSpace(text[strings.LastIndex(text, ":")+1:]) }

func envOf(cmd *shimapi.Process, name string) string {
	value := ""
	for _, kv := range cmd.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}
