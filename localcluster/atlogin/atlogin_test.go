package atlogin

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// systemd itself says whether the unit is right, for paths as odd as they come.
func TestContent(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("SKIPPED: this needs systemd-analyze (package systemd)")
	}
	dir := filepath.Join(t.TempDir(), `an odd 100% $folder`)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "studio")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := Content(program, datadir.Dir(filepath.Join(dir, `my "data"`)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), Unit)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("systemd-analyze", "--user", "--man=no", "--recursive-errors=no", "verify", path)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), Unit+":") {
		t.Errorf("systemd-analyze: %v\n%s\n%s", err, out, text)
	}
	// The check can fail: a program that is not there is said.
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "studio\" up", "nothing\" up")), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("systemd-analyze", "--user", "--man=no", "--recursive-errors=no", "verify", path)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("a program that is not there passes: %s", out)
	}
}

func TestWithoutSystemd(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	if _, err := On(t.Context(), "/usr/bin/true", datadir.Dir("/d")); !errors.Is(err, ErrNoSystemd) {
		t.Errorf("on: %v", err)
	}
	if err := Off(t.Context()); err != nil {
		t.Errorf("off, where it never was on: %v", err)
	}
	// A unit of another time goes away all the same.
	path, err := unitPath()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Off(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unit is still there: %v", err)
	}
}
