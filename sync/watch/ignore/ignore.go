// Package ignore decides which files of a project are nobody's work: what git
// ignores (.gitignore in any folder, .git/info/exclude), what .studioignore
// names, and what editors and interpreters leave lying about.
//
// Of several rules the most specific counts: .studioignore before the built-in
// ones before .gitignore, a deeper folder's file before a higher one's, a later
// line before an earlier. Only .studioignore brings back what is built in, since
// a common .gitignore that lists what to keep (`*`, then `!*/`) never thought of
// it. As with git, nothing in an ignored folder comes back, and .git never does.
package ignore

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The names of the files that hold rules.
const (
	GitFile    = ".gitignore"
	StudioFile = ".studioignore"
)

// IsRules tells whether a file of this name holds rules.
func IsRules(name string) bool { return name == GitFile || name == StudioFile }

// layer is the rules of one file; its folder is counted from the root, "" for the
// root itself.
type layer map[string][]rule

// Rules are those of one tree. Paths are relative to its root, with slashes. It
// is not safe for concurrent use.
type Rules struct {
	root        string
	git, studio layer
	// above are .gitignore files of the repository's folders over the root, the
	// repository's own first; exclude is its .git/info/exclude.
	above   []outer
	exclude outer
}

// outer is a file of rules over the root: prefix is the root's path from there.
type outer struct {
	prefix string
	rules  []rule
}

// builtin holds what is ignored everywhere unless .studioignore brings it back.
//
//go:embed builtin
var builtin []byte

var builtins = parse(builtin)

// New prepares for the tree at root and reads the rules that lie above it.
func New(root string) (*Rules, error) {
	r := &Rules{root: root, git: layer{}, studio: layer{}}
	for at := root; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return r, r.repository(at)
		}
		if at == filepath.Dir(at) {
			return r, nil
		}
	}
}

// repository reads the rules of the git repository that the root lies in.
func (r *Rules) repository(top string) error {
	prefix := func(at string) string {
		rel, err := filepath.Rel(at, r.root)
		if err != nil || rel == "." {
			return ""
		}
		return filepath.ToSlash(rel) + "/"
	}
	rules, err := read(filepath.Join(top, ".git", "info", "exclude"))
	if err != nil {
		return err
	}
	r.exclude = outer{prefix(top), rules}
	for at := filepath.Dir(r.root); len(at) >= len(top) && r.root != top; at = filepath.Dir(at) {
		rules, err := read(filepath.Join(at, GitFile))
		if err != nil {
			return err
		}
		if len(rules) > 0 {
			r.above = append(r.above, outer{prefix(at), rules})
		}
		if at == top {
			break
		}
	}
	return nil
}

// largest is how much of a file of rules is read; more is no such file.
const largest = 1 << 20

func read(path string) ([]rule, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() || notThere(err) {
		return nil, nil
	}
	if err == nil && info.Size() > largest {
		return nil, fmt.Errorf("reading ignore rules: %s is larger than 1 MiB", path)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ignore rules: %w", err)
	}
	return parse(bytes.ReplaceAll(text, []byte{0}, nil)), nil
}

// Enter reads the rules that lie in a folder. It is called before what is in the
// folder is asked for, and again when such a file has changed.
func (r *Rules) Enter(dir string) error {
	var errs []error
	for name, into := range map[string]layer{GitFile: r.git, StudioFile: r.studio} {
		rules, err := read(filepath.Join(r.root, dir, name))
		errs = append(errs, err)
		if len(rules) > 0 {
			into[dir] = rules
		} else {
			delete(into, dir)
		}
	}
	return errors.Join(errs...)
}

// Leave forgets the rules of a folder that is gone.
func (r *Rules) Leave(dir string) {
	delete(r.git, dir)
	delete(r.studio, dir)
}

// Ignored judges a path whose parent is not ignored.
func (r *Rules) Ignored(path string, dir bool) bool {
	if path == ".git" || strings.HasSuffix(path, "/.git") {
		return true // not even a worktree's file
	}
	if ignored, decided := r.studio.judge(path, dir); decided {
		return ignored
	}
	if ignored, _ := judge(builtins, path, dir); ignored {
		return true
	}
	if ignored, decided := r.git.judge(path, dir); decided {
		return ignored
	}
	for _, o := range r.above {
		if ignored, decided := judge(o.rules, o.prefix+path, dir); decided {
			return ignored
		}
	}
	ignored, _ := judge(r.exclude.rules, r.exclude.prefix+path, dir)
	return ignored
}

// judge asks the folders from the path's own up to the root.
func (l layer) judge(path string, dir bool) (ignored, decided bool) {
	if len(l) == 0 {
		return false, false
	}
	for at := parent(path); ; at = parent(at) {
		if rules, ok := l[at]; ok {
			if ignored, decided := judge(rules, strings.TrimPrefix(path[len(at):], "/"), dir); decided {
				return ignored, true
			}
		}
		if at == "" {
			return false, false
		}
	}
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}
