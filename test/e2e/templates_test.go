//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every template that `studio init` knows runs as it comes.
func TestJourneyOfTemplates(t *testing.T) {
	e := newEngine(t)
	dir := tempFolder(t)
	for template, run := range map[string]struct {
		target  string // below the project
		modules []string
		says    string
	}{
		"digits":      {".", []string{"sklearn"}, "accuracy: 0.9"},
		"notebook":    {"explore.ipynb", []string{"sklearn"}, "accuracy: 0.9"},
		"pytorch-ddp": {".", []string{"torch", "sklearn"}, "processes: 2"},
	} {
		t.Run(template, func(t *testing.T) {
			e := e.in(t)
			// Without the system's packages gigabytes would be fetched.
			for _, module := range run.modules {
				if exec.Command("/usr/bin/python3", "-Ic", "import "+module).Run() != nil {
					t.Skipf("SKIPPED: /usr/bin/python3 has no %s (apt-get install python3-%s)", module, module)
				}
			}
			project := filepath.Join(dir, "my-"+template)
			e.studio("init", "--template", template, project)
			if template == "pytorch-ddp" {
				mendTorchrun(t, project)
			}
			if r := e.studio("run", filepath.Join(project, run.target)); !strings.Contains(r.stdout, run.says) {
				t.Errorf("want %q in %s", run.says, r)
			}
		})
	}
}

// mendTorchrun asks for a way through torchrun of PyTorch 1.13 that works: its
// default for the processes' output is not understood under Python 3.11, which
// Debian 12 combines.
func mendTorchrun(t *testing.T, project string) {
	t.Helper()
	version, err := exec.Command("/usr/bin/python3", "-Ic", "import sys, torch; print(torch.__version__, sys.version_info[:2] >= (3, 11))").Output()
	if err != nil {
		t.Fatal(err)
	}
	if s := string(version); !strings.HasPrefix(s, "1.13") || !strings.Contains(s, "True") {
		return
	}
	path := filepath.Join(project, "manifests", "trainjob.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mended := strings.Replace(string(raw), "    numProcPerNode: 2\n", "    numProcPerNode: 2\n    env: [{name: PET_REDIRECTS, value: '1'}, {name: PET_TEE, value: '1'}]\n", 1)
	if err := os.WriteFile(path, []byte(mended), 0o644); err != nil {
		t.Fatal(err)
	}
}
