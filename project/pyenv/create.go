package pyenv

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/project"
)

// marker tells environments that Studio made, and may complete or make again,
// from those of the person.
const marker = ".made-by-studio"

func madeByStudio(prefix string) bool { return isFile(filepath.Join(prefix, marker)) }

// complete tells whether an environment that Studio made has what is asked for
// now. What only pip can judge (an address, a local folder) counts as met while
// the file is the one that pip installed.
func complete(prefix, requirements string, missing []string) bool {
	judged := slices.ContainsFunc(missing, func(m string) bool { return !strings.HasSuffix(m, onlyPip) })
	return !judged && (len(missing) == 0 || installedFrom(prefix) == fingerprint(requirements))
}

// onlyPip ends the requirements that the probe can not judge.
const onlyPip = "(only pip can tell)"

func installedFrom(prefix string) string {
	raw, err := os.ReadFile(filepath.Join(prefix, marker))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

func fingerprint(requirements string) string {
	raw, err := os.ReadFile(requirements)
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprintf("requirements %x", sha256.Sum256(raw))
}

// create makes .venv in the project, or completes one that an earlier call began.
func create(ctx context.Context, p *project.Project, say Say) (*Environment, error) {
	unlock, err := lock(ctx, p.Dir, say)
	if err != nil {
		return nil, err
	}
	defer unlock()
	prefix := filepath.Join(p.Dir, ".venv")
	python := interpreter(prefix)
	f, err := probe(ctx, python, p.Requirements)
	if err != nil {
		base, err := baseInterpreter(ctx, p)
		if err != nil {
			return nil, err
		}
		say(fmt.Sprintf("making .venv with Python %s (%s)", base.Version, base.Executable))
		if err := makeVenv(ctx, base, prefix); err != nil {
			return nil, err
		}
		if f, err = probe(ctx, python, p.Requirements); err != nil {
			return nil, fmt.Errorf("making .venv: %w", err)
		}
	}
	if !complete(prefix, p.Requirements, f.Missing) {
		if err := install(ctx, python, p.Requirements, f, say); err != nil {
			return nil, err
		}
		if f, err = probe(ctx, python, p.Requirements); err != nil {
			return nil, fmt.Errorf("looking at the new .venv: %w", err)
		}
	}
	// What is missing still is what only pip could judge, and pip was content.
	f.Missing = nil
	if err := os.WriteFile(filepath.Join(prefix, marker), []byte(fingerprint(p.Requirements)+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("marking the new .venv: %w", err)
	}
	return describe(Created, f, p.Dir)
}

// lock keeps two runs from making the same environment at once. The kernel gives
// it back when this process ends.
func lock(ctx context.Context, dir string, say Say) (func(), error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking the project: %w", err)
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		say("another run makes this project's environment; waiting for it")
		done := make(chan error, 1)
		go func() { done <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
		select {
		case err = <-done:
		case <-ctx.Done():
			return nil, ctx.Err() // the waiting call ends with the process
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the project: %w", err)
	}
	return func() { f.Close() }, nil
}

// baseInterpreter is what .venv is made from.
func baseInterpreter(ctx context.Context, p *project.Project) (*facts, error) {
	wanted, _ := pinned(p.Dir)
	for _, python := range []string{wanted, systemPython, "python3"} {
		if python == "" {
			continue
		}
		if f, err := probe(ctx, python, ""); err == nil {
			return f, nil
		}
	}
	return nil, errors.New("making .venv: no Python was found on this machine; install one: apt-get install python3-venv")
}

func makeVenv(ctx context.Context, base *facts, prefix string) error {
	if err := os.MkdirAll(prefix, 0o755); err != nil {
		return fmt.Errorf("making .venv: %w", err)
	}
	// The mark first: an interrupted creation is Studio's to mend.
	if err := os.WriteFile(filepath.Join(prefix, marker), []byte("begun\n"), 0o644); err != nil {
		return fmt.Errorf("making .venv: %w", err)
	}
	if err := os.WriteFile(filepath.Join(prefix, ".gitignore"), []byte("*\n"), 0o644); err != nil {
		return fmt.Errorf("making .venv: %w", err)
	}
	out, err := exec.CommandContext(ctx, base.Executable, "-m", "venv", prefix).CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s\nmaking .venv with %s: %w; on Debian and Ubuntu: apt-get install python3-venv", strings.TrimSpace(string(out)), base.Executable, err)
	}
	return nil
}

// install has pip install the requirements.
func install(ctx context.Context, python, requirements string, f *facts, say Say) error {
	say("installing " + strings.Join(f.Missing, ", "))
	what := []string{"-r", requirements}
	if filepath.Ext(requirements) == ".toml" {
		what = append([]string{"--"}, f.Wanted...)
	}
	err := pip(ctx, python, what, say)
	var failed *pipError
	if errors.As(err, &failed) {
		return fmt.Errorf("%w\ninstalling %s into .venv: pip could not; it wanted %s: mend the file or the network and run again",
			err, requirements, strings.Join(f.Missing, ", "))
	}
	return err
}

// pipError is what pip said when it failed. Its own words come first in every
// error: it knows why.
type pipError struct{ words []string }

func (e *pipError) Error() string { return strings.Join(errorsOf(e.words), "\n") }

// pip installs and passes on what shows that it moves.
func pip(ctx context.Context, python string, what []string, say Say) error {
	cmd := exec.CommandContext(ctx, python, append([]string{"-m", "pip", "install", "--disable-pip-version-check", "--no-input",
		"--progress-bar", "off", "--retries", "2"}, what...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("running pip: %w", err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("running pip: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running pip: %w", err)
	}
	var words []string
	var readers sync.WaitGroup
	readers.Go(func() { eachLine(out, func(line string) { progress(line, say) }) })
	readers.Go(func() { eachLine(errs, func(line string) { words = append(words, line) }) })
	readers.Wait() // before Wait, which closes the pipes
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &pipError{words: words}
	}
	return nil
}

func eachLine(r io.Reader, do func(string)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		do(lines.Text())
	}
	io.Copy(io.Discard, r) // a line over the limit must not block pip
}

// progress passes on what shows that pip moves.
func progress(line string, say Say) {
	line = strings.TrimSpace(line)
	for _, start := range []string{"Collecting ", "Downloading ", "Building ", "Installing collected packages", "Successfully installed"} {
		if strings.HasPrefix(line, start) {
			say("pip: " + line)
			return
		}
	}
}

// errorsOf keeps pip's errors and drops its warnings, unless those are all it said.
func errorsOf(words []string) []string {
	var errs []string
	for _, w := range words {
		if !strings.HasPrefix(w, "WARNING:") && strings.TrimSpace(w) != "" {
			errs = append(errs, w)
		}
	}
	if len(errs) == 0 {
		return words
	}
	return errs
}
