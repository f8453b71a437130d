//go:build e2e

package e2e

import (
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
			if r := e.studio("run", filepath.Join(project, run.target)); !strings.Contains(r.stdout, run.says) {
				t.Errorf("want %q in %s", run.says, r)
			}
		})
	}
}
