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
	var all func(c *cobra.Command) []*cobra.Command
	all = func(c *cobra.Command) []*cobra.Command {
		list := []*cobra.Command{c}
		if c.Name() != "completion" { // one page a shell, all alike
			for _, sub := range c.Commands() {
				list = append(list, all(sub)...)
			}
		}
		return list
	}
	for _, c := range all(root) {
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
