package guide

import (
	"io/fs"
	"strings"
	"testing"
)

// Every page has a title, every block an end, and every link to another page leads somewhere.
func TestPagesAreWhole(t *testing.T) {
	pages, err := fs.Glob(Pages, "*.md")
	if err != nil || len(pages) < 3 {
		t.Fatalf("pages %v, %v", pages, err)
	}
	scripts := 0
	for _, page := range pages {
		text, err := Pages.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s does not begin with a title", page)
		}
		blocks, err := scriptsOf(string(text))
		if err != nil {
			t.Errorf("%s: %v", page, err)
		}
		scripts += len(blocks)
	}
	if scripts < 5 {
		t.Errorf("the guide has only %d blocks to run", scripts)
	}
}
