package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	for _, tc := range []struct {
		name, flag, env, xdg, want string
	}{
		{"flag wins", "/a", "/b", "/c", "/a"},
		{"then the variable", "", "/b", "/c", "/b"},
		{"then XDG", "", "", "/c", "/c/studio"},
		{"a relative XDG is ignored, as its specification says", "", "", "c", "/h/.local/share/studio"},
		{"then the home", "", "", "", "/h/.local/share/studio"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv(Env, tc.env)
			t.Setenv("XDG_DATA_HOME", tc.xdg)
			t.Setenv("HOME", "/h")
			got, err := Resolve(tc.flag)
			if err != nil || string(got) != tc.want {
				t.Errorf("got %s, %v; want %s", got, err, tc.want)
			}
		})
	}
	if _, err := Resolve("/" + strings.Repeat("x", 120)); err == nil || !strings.Contains(err.Error(), Env) {
		t.Errorf("a path too long for sockets: %v, want an error that names %s", err, Env)
	}
}

func TestInitIsPrivateAndKeepsNewerData(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "data"))
	if err := d.Init(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(string(d), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Init(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(string(d)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", st.Mode(), err)
	}
	for content, word := range map[string]string{`{"version":2}`: "newer", `{`: "version.json"} {
		if err := os.WriteFile(d.versionFile(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Init(); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("version file %s: %v, want an error with %q", content, err, word)
		}
	}
}

func TestLockNamesItsOwner(t *testing.T) {
	d := Dir(t.TempDir())
	release, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Lock()
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID == "" {
		t.Fatalf("second lock: %v, want a LockedError with the process", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- d.WaitUnlocked(t.Context()) }()
	release()
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	again, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestAPIPortIsKept(t *testing.T) {
	d := Dir(t.TempDir())
	if _, err := d.APIPort(); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("before the first start: %v, want os.ErrNotExist", err)
	}
	if err := d.KeepAPIPort(4711); err != nil {
		t.Fatal(err)
	}
	if p, err := d.APIPort(); err != nil || p != 4711 {
		t.Errorf("got %d, %v", p, err)
	}
}
