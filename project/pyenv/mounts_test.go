package pyenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes files and links (name -> target) below a home.
func tree(t *testing.T, files []string, links map[string]string) string {
	t.Helper()
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(home, f)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(home, f), "")
	}
	for name, target := range links {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(strings.ReplaceAll(target, "HOME", home), filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func TestMountsAreExactlyThePrefixesInUse(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		links map[string]string
		facts facts // HOME stands for the home
		want  []string
	}{
		"system": {facts: facts{Executable: "/usr/bin/python3", Prefix: "/usr", BasePrefix: "/usr", Stdlib: []string{"/usr/lib/python3.11"}}},
		"pyenv": {
			files: []string{".pyenv/versions/3.12.1/bin/python3.12", ".pyenv/versions/3.11.7/bin/python"},
			facts: facts{Executable: "HOME/.pyenv/versions/3.12.1/bin/python3.12", Prefix: "HOME/.pyenv/versions/3.12.1", BasePrefix: "HOME/.pyenv/versions/3.12.1",
				Libraries: []string{"HOME/.pyenv/versions/3.12.1/lib/libpython3.12.so.1.0"}},
			want: []string{"HOME/.pyenv/versions/3.12.1"},
		},
		"venv on pyenv": {
			files: []string{".pyenv/versions/3.12.1/bin/python3.12"},
			links: map[string]string{"work/.venv/bin/python": "HOME/.pyenv/versions/3.12.1/bin/python3.12"},
			facts: facts{Executable: "HOME/work/.venv/bin/python", Prefix: "HOME/work/.venv", BasePrefix: "HOME/.pyenv/versions/3.12.1"},
			want:  []string{"HOME/.pyenv/versions/3.12.1", "HOME/work/.venv"},
		},
		"venv on uv, through a link beside the real folder": {
			files: []string{"uv/cpython-3.12.4-linux/bin/python3.12"},
			links: map[string]string{"uv/cpython-3.12-linux": "cpython-3.12.4-linux", "work/.venv/bin/python": "HOME/uv/cpython-3.12-linux/bin/python3.12"},
			facts: facts{Executable: "HOME/work/.venv/bin/python", Prefix: "HOME/work/.venv", BasePrefix: "HOME/uv/cpython-3.12-linux"},
			want:  []string{"HOME/uv/cpython-3.12-linux", "HOME/uv/cpython-3.12.4-linux", "HOME/work/.venv"},
		},
		"venv whose link goes through a folder of commands": {
			files: []string{"uv/cpython-3.12.4/bin/python3.12"},
			links: map[string]string{".local/bin/python3.12": "HOME/uv/cpython-3.12.4/bin/python3.12", "work/.venv/bin/python": "HOME/.local/bin/python3.12"},
			facts: facts{Executable: "HOME/work/.venv/bin/python", Prefix: "HOME/work/.venv", BasePrefix: "HOME/uv/cpython-3.12.4"},
			want:  []string{"HOME/.local/bin", "HOME/uv/cpython-3.12.4", "HOME/work/.venv"},
		},
		"conda in /opt": {facts: facts{Executable: "/opt/conda/bin/python", Prefix: "/opt/conda", BasePrefix: "/opt/conda", Conda: true}},
		"conda with libraries elsewhere": {
			files: []string{"miniconda3/envs/ml/bin/python", "openssl/lib/libssl.so.3"},
			facts: facts{Executable: "HOME/miniconda3/envs/ml/bin/python", Prefix: "HOME/miniconda3/envs/ml", BasePrefix: "HOME/miniconda3/envs/ml",
				Libraries: []string{"HOME/openssl/lib/libssl.so.3", "/usr/lib/x86_64-linux-gnu/libc.so.6"}},
			want: []string{"HOME/miniconda3/envs/ml", "HOME/openssl/lib"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := tree(t, c.files, c.links)
			at := func(s string) string { return strings.ReplaceAll(s, "HOME", home) }
			f := c.facts
			f.Executable, f.Prefix, f.BasePrefix = at(f.Executable), at(f.Prefix), at(f.BasePrefix)
			for i := range f.Libraries {
				f.Libraries[i] = at(f.Libraries[i])
			}
			got, err := f.mounts()
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			for _, m := range got {
				if !m.ReadOnly {
					t.Errorf("%s is writable", m.Path)
				}
				paths = append(paths, strings.ReplaceAll(m.Path, home, "HOME"))
			}
			if strings.Join(paths, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got %q, want %q", paths, c.want)
			}
		})
	}
}

func TestTheHomeIsNeverAMount(t *testing.T) {
	home := tree(t, []string{"bin/python"}, nil)
	for _, prefix := range []string{home, filepath.Dir(home)} {
		f := facts{Executable: filepath.Join(home, "bin/python"), Prefix: prefix, BasePrefix: "/usr"}
		if got, err := f.mounts(); err == nil {
			t.Errorf("a prefix at %s was mounted: %v", prefix, got)
		}
	}
}

func TestInstalledTakesTheNewestOfAVersion(t *testing.T) {
	home := tree(t, []string{
		".pyenv/versions/3.9.2/bin/python", ".pyenv/versions/3.9.18/bin/python", ".pyenv/versions/work/bin/python",
		".local/share/uv/python/cpython-3.12.4-linux-x86_64-gnu/bin/python3",
	}, nil)
	t.Setenv("PYENV_ROOT", "")
	t.Setenv("XDG_DATA_HOME", "")
	for name, want := range map[string]string{
		"3.9": ".pyenv/versions/3.9.18/bin/python", "3.9.2": ".pyenv/versions/3.9.2/bin/python", "work": ".pyenv/versions/work/bin/python",
		"3.12": ".local/share/uv/python/cpython-3.12.4-linux-x86_64-gnu/bin/python3", "../work": "",
	} {
		if got := installed(name); strings.TrimPrefix(got, home+"/") != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
