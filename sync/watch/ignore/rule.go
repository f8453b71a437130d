package ignore

import (
	"bytes"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// rule is one line of an ignore file.
type rule struct {
	// pattern is matched against the path from the file's folder on, or, where
	// nameOnly, against the last part of it.
	pattern  string
	form     form
	include  bool // the line begins with !
	dirOnly  bool // the line ends with /
	nameOnly bool
}

// form tells patterns that need no pattern matching: nearly all, and every file
// of a project meets every rule.
type form uint8

const (
	glob   form = iota
	exact       // no special character
	suffix      // *.pyc, kept without the star; for names only
)

// parse reads the lines of an ignore file by git's rules. What can never match
// is left out, as git does.
func parse(text []byte) []rule {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var rules []rule
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if r, ok := parseLine(trimSpaces(line)); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func parseLine(line string) (rule, bool) {
	var r rule
	line, r.include = strings.CutPrefix(line, "!")
	line, r.dirOnly = strings.CutSuffix(line, "/")
	if line == "" {
		return r, false
	}
	r.nameOnly = !strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	// a/** is all that lies in a, but not a.
	if rest, all := strings.CutSuffix(line, "/**"); all {
		line = rest + "/**/*"
	}
	const special = `*?[\{}`
	rest, star := strings.CutPrefix(line, "*")
	switch {
	case !strings.ContainsAny(line, special):
		r.pattern, r.form = line, exact
		return r, true
	case star && r.nameOnly && !strings.ContainsAny(rest, special):
		r.pattern, r.form = rest, suffix
		return r, true
	}
	r.pattern = plain.Replace(line)
	return r, doublestar.ValidatePattern(r.pattern)
}

// plain takes away what the library's patterns know beyond git's: alternatives
// in braces.
var plain = strings.NewReplacer(`\{`, `\{`, `\}`, `\}`, `{`, `\{`, `}`, `\}`)

// trimSpaces cuts spaces at the end that no backslash protects.
func trimSpaces(line string) string {
	for strings.HasSuffix(line, " ") {
		before := line[:len(line)-1]
		if (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1 {
			return line
		}
		line = before
	}
	return line
}

// matches tells whether the rule is about a path below its file's folder.
func (r rule) matches(path string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	if r.nameOnly {
		path = path[strings.LastIndexByte(path, '/')+1:]
	}
	switch r.form {
	case exact:
		return path == r.pattern
	case suffix:
		return strings.HasSuffix(path, r.pattern)
	}
	return doublestar.MatchUnvalidated(r.pattern, path)
}

// judge asks the rules of one file, of which the last that matches counts.
func judge(rules []rule, path string, dir bool) (ignored, decided bool) {
	for i := len(rules) - 1; i >= 0; i-- {
		if rules[i].matches(path, dir) {
			return !rules[i].include, true
		}
	}
	return false, false
}
