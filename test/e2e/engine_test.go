//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/test/proc"
)

// patience is how long one step of a test may take on a busy machine of two cores.
const patience = 90 * time.Second

// engine is one engine and the commands that a person gives it.
type engine struct {
	t *testing.T
	// dir is the data directory; root holds bin/ and examples/.
	dir  datadir.Dir
	root string
	mark proc.Mark
	env  []string
}

// newEngine returns an engine that does not run yet. When the test ends it is
// taken down, and whatever is left then fails the test.
func newEngine(t *testing.T) *engine {
	t.Helper()
	root := os.Getenv("STUDIO_ROOT")
	if root == "" {
		t.Fatal("STUDIO_ROOT is not set; run these tests with make e2e or make e2e-crash")
	}
	// A short path: sockets lie in it.
	return engineIn(t, root, tempFolder(t))
}

func engineIn(t *testing.T, root, folder string) *engine {
	mark := proc.Mark(fmt.Sprintf("STUDIO_E2E_MARK=%s-%d", filepath.Base(folder), os.Getpid()))
	e := &engine{t: t, dir: datadir.Dir(filepath.Join(folder, "data")), root: root, mark: mark}
	e.env = append(os.Environ(), datadir.Env+"="+e.dir.String(), string(mark))
	t.Cleanup(func() {
		if t.Failed() {
			e.keepLogs()
		}
		if _, err := os.Stat(e.dir.String()); err == nil {
			if r := e.try("down"); r.code != 0 {
				t.Errorf("studio down at the end: %s", r)
			}
		}
		e.assertNothingLeft()
	})
	return e
}

// in is the same engine within a subtest.
func (e *engine) in(t *testing.T) *engine {
	sub := *e
	sub.t = t
	return &sub
}

// tempFolder is removed at the end, mode bits of its contents notwithstanding.
func tempFolder(t *testing.T) string {
	folder, err := os.MkdirTemp("", "se-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, folder) })
	return folder
}

func removeAll(t *testing.T, folder string) {
	err := os.RemoveAll(folder)
	if errors.Is(err, fs.ErrPermission) && os.Getuid() != 0 {
		// Files of a rootless pod's other users go away from inside a user namespace only.
		var out []byte
		if out, err = exec.Command("unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", folder).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		t.Errorf("removing %s: %v", folder, err)
	}
}

// result is what a command left.
type result struct {
	args           []string
	stdout, stderr string
	code           int
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("studio %s: exit code %d after %.1f s\n%s%s", strings.Join(r.args, " "), r.code, r.took.Seconds(), r.stdout, r.stderr)
}

// said is everything it printed.
func (r result) said() string { return r.stdout + r.stderr }

// try runs `studio ARGS` and lets it fail.
func (e *engine) try(args ...string) result {
	e.t.Helper()
	return e.tryIn("", "studio", args...)
}

// pipe runs `studio ARGS` with a text on its standard input.
func (e *engine) pipe(input string, args ...string) result {
	e.t.Helper()
	return e.runIn("", strings.NewReader(input), "studio", args...)
}

// studio runs `studio ARGS`, which must succeed.
func (e *engine) studio(args ...string) result {
	e.t.Helper()
	r := e.try(args...)
	if r.code != 0 {
		e.t.Fatal(r)
	}
	return r
}

// tryIn runs one of the programs in bin/ in a folder.
func (e *engine) tryIn(folder, program string, args ...string) result {
	e.t.Helper()
	return e.runIn(folder, nil, program, args...)
}

func (e *engine) runIn(folder string, input io.Reader, program string, args ...string) result {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.bin(program), args...)
	cmd.Dir = folder
	cmd.Env = e.env
	cmd.Stdin = input
	// A command that ran out of time says where it stands before it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	r := result{args: args, stdout: stdout.String(), stderr: stderr.String(), took: time.Since(start)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		e.t.Fatalf("running %s %v: %v", program, args, err)
	}
	return r
}

func (e *engine) bin(program string) string { return filepath.Join(e.root, "bin", program) }

// up starts the engine.
func (e *engine) up() result {
	e.t.Helper()
	return e.studio("up", "--driver", "embedded")
}

func (e *engine) status() localcluster.Status {
	e.t.Helper()
	r := e.studio("status", "-o", "json")
	var s localcluster.Status
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		e.t.Fatalf("reading the status: %v in %s", err, r.stdout)
	}
	return s
}

// config is the administrator's way to the API server.
func (e *engine) config() *rest.Config {
	e.t.Helper()
	c, err := clientcmd.BuildConfigFromFlags("", e.dir.Kubeconfig())
	if err != nil {
		e.t.Fatal(err)
	}
	c.QPS, c.Burst = 200, 400
	return c
}

func (e *engine) client() kubernetes.Interface {
	e.t.Helper()
	c, err := kubernetes.NewForConfig(e.config())
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

func (e *engine) dynamic() dynamic.Interface {
	e.t.Helper()
	c, err := dynamic.NewForConfig(e.config())
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

func (e *engine) processes() []proc.Process {
	e.t.Helper()
	ps, err := proc.Find(e.mark, e.dir.String())
	if err != nil {
		e.t.Fatal(err)
	}
	return ps
}

// assertNothingLeft fails the test for each process, mount and control group
// that the engine left, and ends the processes.
func (e *engine) assertNothingLeft() {
	e.t.Helper()
	for _, p := range e.processes() {
		e.t.Errorf("left behind: process %s", p)
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			e.t.Errorf("ending it: %v", err)
		}
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if strings.Contains(line, e.dir.String()) {
			e.t.Errorf("left behind: mount %s", line)
		}
	}
}

// keepLogs prints the end of each part's log, which goes away with the folder.
func (e *engine) keepLogs() {
	crashes, _ := filepath.Glob(filepath.Join(e.dir.Logs(), "*.err"))
	for _, name := range crashes {
		// A crash says what it is first, then thousands of lines of goroutines.
		if raw, err := os.ReadFile(name); err == nil && len(raw) > 0 {
			e.t.Logf("the beginning of %s:\n%s", filepath.Base(name), raw[:min(len(raw), 3000)])
		}
	}
	logs, _ := filepath.Glob(filepath.Join(e.dir.Logs(), "*.log"))
	for _, name := range logs {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
		if len(lines) > 30 {
			lines = lines[len(lines)-30:]
		}
		e.t.Logf("the end of %s:\n%s", filepath.Base(name), strings.Join(lines, "\n"))
	}
}
