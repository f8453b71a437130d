package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestLastWords(t *testing.T) {
	c := &child{name: "platform", stderr: "platform.err"}
	crash := "runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort\n\ngoroutine 0 [idle]:\n" +
		strings.Repeat("runtime.something()\n", 2000) + "gs     0x0\n"
	for said, want := range map[string]string{
		"":                               "platform: exit status 2 (see platform.err)",
		"one\nstudiod: no such folder\n": "no such folder",
		crash:                            "runtime/cgo: pthread_create failed: Resource temporarily unavailable",
	} {
		words := &tail{}
		for line := range strings.Lines(said) {
			fmt.Fprint(words, line)
		}
		if got := c.explain(errors.New("exit status 2"), words.String()).Error(); got != want {
			t.Errorf("%.40q: %q", said, got)
		}
	}
}
