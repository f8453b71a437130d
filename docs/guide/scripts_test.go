package guide

import (
	"fmt"
	"strings"
)

// script is one block that a reader may paste into a shell.
type script struct {
	line int
	text string
	// needs are programs without which the block is left out.
	needs []string
	// fails is what the block says when it ends in an error, as it must; empty for
	// one that succeeds.
	fails string
}

// scriptsOf finds the blocks marked sh.
func scriptsOf(page string) ([]script, error) {
	var all []script
	var open *script
	inside := false
	number := 0
	for line := range strings.Lines(page) {
		number++
		mark, fence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case fence && !inside:
			inside = true
			words := strings.Fields(mark)
			if len(words) > 0 && words[0] == "sh" {
				open = &script{line: number}
				for _, w := range words[1:] {
					switch key, value, _ := strings.Cut(w, "="); key {
					case "needs":
						open.needs = append(open.needs, value)
					case "fails":
						open.fails = value
					default:
						return nil, fmt.Errorf("line %d: a block knows needs= and fails=, not %q", number, w)
					}
				}
			}
		case fence:
			inside = false
			if open != nil {
				all = append(all, *open)
				open = nil
			}
		case open != nil:
			open.text += line
		}
	}
	if inside {
		return nil, fmt.Errorf("the last block has no end")
	}
	return all, nil
}
