// Package upstream finds the published CRDs and examples that tests hold Studio
// against. They are read, never copied into the repository.
package upstream

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Env names the folder; without it, it lies beside the repository.
const Env = "STUDIO_UPSTREAM"

// Dir returns the folder below elem. Where it is missing, the test is skipped in
// words that can not be overlooked.
func Dir(t testing.TB, elem ...string) string {
	t.Helper()
	root := os.Getenv(Env)
	if root == "" {
		_, here, _, _ := runtime.Caller(0)
		root = filepath.Join(filepath.Dir(here), "..", "..", "..", "shared", "upstream")
	}
	dir := filepath.Join(append([]string{root}, elem...)...)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv(Env) != "" {
			t.Fatalf("%s is set, but %v", Env, err)
		}
		t.Skipf("COMPATIBILITY NOT TESTED: upstream's files are not at %s; set %s to the folder that holds them", dir, Env)
	}
	return dir
}

// Files lists the files of that suffix below elem; it fails where there are none,
// so that no test passes on nothing.
func Files(t testing.TB, suffix string, elem ...string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(Dir(t, elem...), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == suffix {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no %s file below %v", suffix, elem)
	}
	return files
}
