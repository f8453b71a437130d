package ignore

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// walk lists what is not ignored below root, folders with a slash at the end.
func walk(t *testing.T, r *Rules, root string) []string {
	t.Helper()
	var seen []string
	var in func(dir string)
	in = func(dir string) {
		if err := r.Enter(dir); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := strings.TrimPrefix(dir+"/"+e.Name(), "/")
			switch {
			case r.Ignored(path, e.IsDir()):
			case e.IsDir():
				seen = append(seen, path+"/")
				in(path)
			default:
				seen = append(seen, path)
			}
		}
	}
	in("")
	slices.Sort(seen)
	return seen
}

func TestRulesOfOneTree(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		".gitignore":     "*.log\n!keep.log\n/build/\ndata/\n# a comment\n\\#odd\ntrail\\ \nspaces   \ndoc/**/tmp\n{a}\n",
		"sub/.gitignore": "!*.log\nonly-here\n",
		".studioignore":  "!data/\n*.bin\n!sub/deep.bin\nvenv-not/\n!venv/\n",
		"a.log":          "", "keep.log": "", "sub/b.log": "", "sub/only-here": "", "only-here": "",
		"build/x": "", "sub/build/x": "", "data/set.csv": "", "x.bin": "", "sub/deep.bin": "", "sub/x/deep.bin": "",
		"#odd": "", "trail ": "", "spaces": "", "doc/tmp": "", "doc/a/b/tmp": "", "a": "", "{a}": "",
		".venv/lib/x.py": "", "venv/lib/x.py": "", "__pycache__/m.pyc": "", "m.pyc": "",
		".train.py.swp": "", "train.py~": "", "4913": "", "#train.py#": "", "train.py___jb_tmp___": "", "train.py": "", ".git/HEAD": "",
	} {
		write(t, filepath.Join(root, path), text)
	}
	r, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".gitignore", ".studioignore", "a", "data/", "data/set.csv", "doc/", "doc/a/", "doc/a/b/", "keep.log", "only-here",
		"sub/", "sub/.gitignore", "sub/b.log", "sub/build/", "sub/build/x", "sub/deep.bin", "sub/x/", "train.py", "venv/", "venv/lib/", "venv/lib/x.py"}
	if got := walk(t, r, root); !slices.Equal(got, want) {
		t.Errorf("seen:\n got %q\nwant %q", got, want)
	}
}

// A project may be a folder of a larger repository.
func TestRulesAboveTheRoot(t *testing.T) {
	top := t.TempDir()
	write(t, filepath.Join(top, ".git/info/exclude"), "secret\n!b.tmp\n")
	write(t, filepath.Join(top, ".gitignore"), "*.tmp\n/projects/one/out\n/out\n")
	write(t, filepath.Join(top, "projects/.gitignore"), "!good.tmp\n/one/x\n")
	root := filepath.Join(top, "projects/one")
	for _, name := range []string{"a.tmp", "b.tmp", "good.tmp", "secret", "out", "x", "y", "sub/out"} {
		write(t, filepath.Join(root, name), "")
	}
	r, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := walk(t, r, root), []string{"good.tmp", "sub/", "sub/out", "y"}; !slices.Equal(got, want) {
		t.Errorf("seen %q, want %q", got, want)
	}
}

// TestAgreesWithGit judges random trees by random rules and compares with git itself.
func TestAgreesWithGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: git is not installed")
	}
	const rounds = 150
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		root := t.TempDir()
		git(t, root, nil, "init", "-q")
		names := []string{"a", "b", "ab", "a.x", "b.x", "[a]", "a b", "A", "ba", "-", "a{b}"}
		name := func() string { return names[random.IntN(len(names))] }
		dirs := []string{""}
		for range 25 {
			dir := dirs[random.IntN(len(dirs))]
			path := filepath.Join(root, dir, name())
			if random.IntN(3) == 0 && strings.Count(dir, "/") < 4 {
				if os.Mkdir(path, 0o755) == nil {
					dirs = append(dirs, filepath.Join(dir, filepath.Base(path)))
				}
			} else if _, err := os.Lstat(path); err != nil {
				write(t, path, "")
			}
		}
		// Not among them: a** before a slash, where git strips the literal a first and
		// then takes ** for a folder, against its own page.
		parts := append(slices.Clone(names), "*", "**", "?", "*.x", "a*", "[ab]", "[!a]", "[^b]*", "[a-b]", "**b", `\a`, `\*`, "[", "[a", "*b*", "{a,b}", "")
		var rules strings.Builder
		for _, dir := range dirs {
			var text strings.Builder
			for range random.IntN(4) {
				line := ""
				for i := range 1 + random.IntN(3) {
					if i > 0 {
						line += "/"
					}
					line += parts[random.IntN(len(parts))]
				}
				line = []string{"", "!", "/", "!/", "**/"}[random.IntN(5)] + line + []string{"", "", "/", " ", `\ `, "/**"}[random.IntN(6)]
				text.WriteString(line + "\n")
			}
			if random.IntN(2) == 0 || dir == "" {
				write(t, filepath.Join(root, dir, GitFile), text.String())
				fmt.Fprintf(&rules, "%q: %q\n", dir, text.String())
			}
		}
		r, err := New(root)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(root, path)
			if d.IsDir() && d.Name() == ".git" {
				return filepath.SkipDir
			}
			if rel != "." {
				all = append(all, rel)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		out := git(t, root, []byte(strings.Join(all, "\x00")), "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "-z", "--stdin")
		ignored := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		var want []string
		for _, path := range all {
			if !slices.Contains(ignored, path) {
				want = append(want, path)
			}
		}
		got := walk(t, r, root)
		for i := range got {
			got[i] = strings.TrimSuffix(got[i], "/")
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d, round %d, rules:\n%s all %q\n we see %q\ngit sees %q", seed, round, rules.String(), all, got, want)
		}
	}
}

func git(t *testing.T, dir string, in []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); err != nil && !(ok && exit.ExitCode() == 1 && errs.Len() == 0) {
		t.Fatalf("git %v: %v\n%s", args, err, errs.Bytes())
	}
	return out
}
