package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlstudio/studio/version"
)

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if err := run([]string{"version"}, &out); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != version.Version {
		t.Errorf("got %q, want %q", got, version.Version)
	}
}

func TestInstallReplacesAnOldCopy(t *testing.T) {
	self, dir := filepath.Join(t.TempDir(), "me"), filepath.Join(t.TempDir(), "a", "b")
	for _, content := range []string{"first", "second"} {
		if err := os.WriteFile(self, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := install(self, dir); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != content {
			t.Fatalf("got %q, %v; want %q", got, err, content)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v; want 0755", st.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left, want 1", len(files))
	}
}

func TestUnknownCommandShowsUsage(t *testing.T) {
	err := run([]string{"fly"}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "usage:") {
		t.Errorf("got %v, want the usage", err)
	}
}
