//go:build e2e

package guide

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long one block may take on a busy machine of two cores.
const patience = 3 * time.Minute

// TestGuide types what the pages say, page by page, block by block, each page in
// one folder with bin/ and examples/ in it and an engine of its own. It needs
// STUDIO_ROOT, a folder with both.
func TestGuide(t *testing.T) {
	root := os.Getenv("STUDIO_ROOT")
	if root == "" {
		t.Fatal("STUDIO_ROOT is not set: the folder that holds bin/ and examples/")
	}
	pages, err := fs.Glob(Pages, "*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := Pages.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		scripts, err := scriptsOf(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(scripts) > 0 {
			t.Run(page, func(t *testing.T) { follow(t, root, scripts) })
		}
	}
}

// follow runs the blocks of a page; what one exports the next ones have.
func follow(t *testing.T, root string, scripts []script) {
	folder, err := os.MkdirTemp("", "guide") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(folder, "examples"), os.DirFS(filepath.Join(root, "examples"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "bin"), filepath.Join(folder, "bin")); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "STUDIO_DATA_DIR="+filepath.Join(folder, "data"), "KUBECONFIG=")
	t.Cleanup(func() {
		down := exec.Command(filepath.Join(folder, "bin", "studio"), "delete", "--yes")
		down.Env = env
		if out, err := down.CombinedOutput(); err != nil {
			t.Errorf("cleaning up: %v\n%s", err, out)
		}
		os.RemoveAll(folder)
	})
	ran := 0
	for _, s := range scripts {
		if missing := lacking(s.needs); missing != "" {
			t.Logf("SKIPPED: the block at line %d needs %s, which is not installed", s.line, missing)
			continue
		}
		// The shell's variables go from block to block through a file.
		state := filepath.Join(folder, ".exports")
		text := "set -euo pipefail\n[ ! -f " + state + " ] || . " + state + "\n" + s.text + "\nexport -p > " + state + "\n"
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "bash", "-c", text)
		cmd.Dir, cmd.Env = folder, env
		out, err := cmd.CombinedOutput()
		cancel()
		t.Logf("line %d:\n%s\n%s", s.line, s.text, out)
		switch {
		case s.fails == "" && err != nil:
			t.Fatalf("the block at line %d failed: %v", s.line, err)
		case s.fails != "" && (err == nil || !strings.Contains(string(out), s.fails)):
			t.Fatalf("the block at line %d should fail and say %q: %v", s.line, s.fails, err)
		}
		ran++
	}
	if ran == 0 {
		t.Error("no block was run")
	}
}

func lacking(programs []string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}
