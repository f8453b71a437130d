package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// reference is the page of the guide that lists all verbs.
const reference = "../../../docs/guide/cli.md"

// TestReferenceIsInStep compares the page with the commands; -update writes it.
func TestReferenceIsInStep(t *testing.T) {
	root := (&app{}).root()
	root.InitDefaultCompletionCmd()
	var page bytes.Buffer
	page.WriteString("# The command line\n\nWritten from the program itself: `go test ./cmd/studio/cli -update`.\n")
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		if c != root && !c.IsAvailableCommand() {
			continue
		}
		c.InitDefaultHelpFlag()
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(&page, "\n## %s\n\n%s\n\n```text\n%s\n```\n", c.CommandPath(), text, strings.TrimSpace(c.UsageString()))
	}
	if *update {
		if err := os.WriteFile(reference, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(reference)
	if err != nil {
		t.Fatalf("%v; go test ./cmd/studio/cli -update writes it", err)
	}
	if !bytes.Equal(page.Bytes(), want) {
		t.Error("docs/guide/cli.md is not what the commands say; go test ./cmd/studio/cli -update writes it")
	}
}
