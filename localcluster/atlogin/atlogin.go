// Package atlogin has the platform started when its user logs in, by a unit of
// systemd's user manager.
package atlogin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// Unit is the name of the unit.
const Unit = "studio.service"

// unit starts everything and keeps nothing of it as its own: the engine lives on
// by itself, and a log-out ends the pods with grace.
var unit = template.Must(template.New(Unit).Parse(`[Unit]
Description=Studio: Kubernetes and an ML platform on this machine

[Service]
Type=oneshot
RemainAfterExit=yes
Environment={{.Env}}
ExecStart={{.Program}} up --quiet
ExecStop={{.Program}} down --quiet
TimeoutStartSec=300
TimeoutStopSec=90

[Install]
WantedBy=default.target
`))

// ErrNoSystemd means that nothing here starts units at log-in.
var ErrNoSystemd = errors.New("no systemd runs for this user, and only that starts programs at log-in")

// Available tells whether systemd's user manager is there to start it.
func Available() bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return false
	}
	run := os.Getenv("XDG_RUNTIME_DIR")
	if run == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(run, "systemd", "private"))
	return err == nil
}

// Content is the unit for a program and a data directory.
func Content(program string, d datadir.Dir) (string, error) {
	var b strings.Builder
	err := unit.Execute(&b, map[string]string{"Env": quote(datadir.Env + "=" + d.String()), "Program": quote(program)})
	return b.String(), err
}

// quote writes a word as systemd reads it: with % doubled, in quotes. A $ means
// nothing in the places that are filled here. A program's path with a quote in
// it systemd refuses, and says so.
func quote(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(word) + `"`
}

// On writes the unit and enables it. It returns the path of the unit.
func On(ctx context.Context, program string, d datadir.Dir) (string, error) {
	if !Available() {
		return "", ErrNoSystemd
	}
	text, err := Content(program, d)
	if err != nil {
		return "", err
	}
	path, err := unitPath()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("writing the unit: %w", err)
	}
	if err := datadir.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", err
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return "", err
	}
	return path, systemctl(ctx, "enable", Unit)
}

// Off disables the unit and removes it. One that is not there is no error.
func Off(ctx context.Context) error {
	path, err := unitPath()
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if Available() {
		if err := systemctl(ctx, "disable", Unit); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the unit: %w", err)
	}
	if Available() {
		return systemctl(ctx, "daemon-reload")
	}
	return nil
}

func unitPath() (string, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the folder of units: %w", err)
	}
	return filepath.Join(config, "systemd", "user", Unit), nil
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", append([]string{"--user"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl --user %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
