package deps

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"testing"
)

// longest is the most lines a hand-written file may have.
const longest = 500

func TestHouseRules(t *testing.T) {
	for name, content := range goFiles(t) {
		lines := bytes.Count(content, []byte("\n"))
		if lines > longest && !strings.Contains(path.Base(name), "zz_generated") {
			t.Errorf("%s has %d lines; split it by idea (at most %d)", name, lines, longest)
		}
		for _, part := range strings.Split(path.Dir(name), "/") {
			if slices.Contains([]string{"util", "utils", "common", "helpers", "misc"}, part) {
				t.Errorf("%s: the folder %q does not say what is in it", name, part)
			}
		}
	}
	for _, p := range mustOwn(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.folder())
		}
	}
}
