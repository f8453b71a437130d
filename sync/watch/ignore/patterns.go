package ignore

import "strings"

// Patterns are lines of an ignore file's form that select files for any purpose.
type Patterns struct{ rules []rule }

// Compile reads patterns; what can never match is left out, as in a file.
func Compile(lines []string) *Patterns {
	return &Patterns{parse([]byte(strings.Join(lines, "\n")))}
}

// Match tells whether a file, or a folder that it lies in, is selected.
func (p *Patterns) Match(file string) bool {
	for i := 0; ; {
		next := strings.IndexByte(file[i:], '/')
		if next < 0 {
			selected, _ := judge(p.rules, file, false)
			return selected
		}
		i += next
		if selected, _ := judge(p.rules, file[:i], true); selected {
			return true
		}
		i++
	}
}
