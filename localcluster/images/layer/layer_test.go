package layer

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func archiveOf(t *testing.T, headers ...tar.Header) ([]byte, string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := "content of " + h.Name
		if h.Typeflag != tar.TypeReg {
			body = ""
		}
		h.Size = int64(len(body))
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return b.Bytes(), "sha256:" + hex.EncodeToString(sum[:])
}

func unpack(t *testing.T, dir string, parents []string, headers ...tar.Header) (Result, error) {
	t.Helper()
	ids, err := CurrentIDs()
	if err != nil {
		t.Fatal(err)
	}
	raw, diffID := archiveOf(t, headers...)
	return Unpack(t.Context(), dir, bytes.NewReader(raw), diffID, parents, ids)
}

func entry(kind byte, name, link string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: link}
}

// TestNothingEscapes unpacks what tries to write or link outside of its folder.
func TestNothingEscapes(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"dots":                  {entry(tar.TypeReg, "../../victim", "")},
		"absolute":              {entry(tar.TypeReg, "/victim", "")},
		"absolute link":         {entry(tar.TypeSymlink, "a", "OUTSIDE"), entry(tar.TypeReg, "a/victim", "")},
		"relative link":         {entry(tar.TypeSymlink, "a", "../../.."), entry(tar.TypeReg, "a/victim", "")},
		"link at the end":       {entry(tar.TypeSymlink, "victim", "OUTSIDE/victim"), entry(tar.TypeReg, "victim", "")},
		"link over a link":      {entry(tar.TypeSymlink, "a", "b"), entry(tar.TypeSymlink, "b", "OUTSIDE"), entry(tar.TypeReg, "a/victim", "")},
		"hard link":             {entry(tar.TypeLink, "a", "OUTSIDE/secret"), entry(tar.TypeReg, "a", "")},
		"hard link through one": {entry(tar.TypeSymlink, "d", "OUTSIDE"), entry(tar.TypeLink, "a", "d/secret")},
		"whiteout of dots":      {entry(tar.TypeReg, "x/.wh...", "")},
		"whiteout of a dot":     {entry(tar.TypeReg, ".wh.", "")},
		"whiteout behind one":   {entry(tar.TypeSymlink, "a", "OUTSIDE"), entry(tar.TypeReg, "a/.wh.secret", "")},
		"opaque behind one":     {entry(tar.TypeSymlink, "a", "OUTSIDE"), entry(tar.TypeReg, "a/.wh..wh..opq", "")},
		"folder over a link":    {entry(tar.TypeSymlink, "a", "OUTSIDE"), entry(tar.TypeDir, "a/", ""), entry(tar.TypeReg, "a/victim", "")},
	} {
		base := t.TempDir()
		dir, outside := filepath.Join(base, "in", "side", "fs"), filepath.Join(base, "out")
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600)); err != nil {
			t.Fatal(err)
		}
		for i := range headers {
			headers[i].Linkname = strings.ReplaceAll(headers[i].Linkname, "OUTSIDE", outside)
		}
		_, err := unpack(t, dir, nil, headers...)
		raw, rerr := os.ReadFile(filepath.Join(outside, "secret"))
		if rerr != nil || string(raw) != "secret" {
			t.Errorf("%s: a file outside is %q, %v", name, raw, rerr)
		}
		found := 0
		filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
			if d.Name() == "victim" && !strings.HasPrefix(path, dir) {
				t.Errorf("%s: wrote %s", name, path)
			}
			found++
			return nil
		})
		st, serr := os.Stat(filepath.Join(outside, "secret"))
		if serr == nil && st.Sys() != nil {
			var u unix.Stat_t
			if unix.Stat(filepath.Join(outside, "secret"), &u) == nil && u.Nlink != 1 {
				t.Errorf("%s: a file outside has a link from within (%v)", name, err)
			}
		}
		if n, _ := unix.Listxattr(outside, nil); n > 0 {
			t.Errorf("%s: a folder outside was marked", name)
		}
	}
}

func TestOverlaysOwnAttributesAreNotTaken(t *testing.T) {
	dir := t.TempDir()
	h := tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755, PAXRecords: map[string]string{
		"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.mine": "1",
	}}
	if _, err := unpack(t, dir, nil, h); err != nil {
		t.Fatal(err)
	}
	list := make([]byte, 1000)
	n, err := unix.Listxattr(filepath.Join(dir, "d"), list)
	if err != nil || string(list[:n]) != "user.mine\x00" {
		t.Errorf("attributes %q, %v", list[:max(n, 0)], err)
	}
}

func TestDamageIsFound(t *testing.T) {
	raw, _ := archiveOf(t, entry(tar.TypeReg, "a", ""))
	_, other := archiveOf(t, entry(tar.TypeReg, "b", ""))
	ids, err := CurrentIDs()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(t.Context(), t.TempDir(), bytes.NewReader(raw), other, nil, ids); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("another layer's content: %v", err)
	}
}

// TestFoldersOnTheWay look like those of the layers below.
func TestFoldersOnTheWay(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	private := tar.Header{Typeflag: tar.TypeDir, Name: "root/", Mode: 0o700}
	sticky := tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o1777}
	if _, err := unpack(t, lower, nil, sticky, private); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(t, upper, []string{lower}, entry(tar.TypeReg, "root/x", "")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{"root": fs.ModeDir | 0o700, ".": fs.ModeDir | fs.ModeSticky | 0o777} {
		st, err := os.Stat(filepath.Join(upper, path))
		if err != nil || st.Mode() != want {
			t.Errorf("%s is %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
}

func TestStack(t *testing.T) {
	low, mid, top := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, headers := range map[string][]tar.Header{
		low: {entry(tar.TypeReg, "etc/passwd", ""), entry(tar.TypeReg, "usr/lib/a", ""), entry(tar.TypeSymlink, "lib", "usr/lib"), entry(tar.TypeReg, "gone/x", ""), entry(tar.TypeReg, "file", ""), entry(tar.TypeReg, "opaque/old", "")},
		mid: {entry(tar.TypeReg, ".wh.gone", ""), entry(tar.TypeSymlink, "etc/group", "/usr/lib/group"), entry(tar.TypeReg, "file/now-a-folder", ""), entry(tar.TypeReg, "opaque/.wh..wh..opq", "")},
		top: {entry(tar.TypeReg, "usr/lib/group", ""), entry(tar.TypeReg, "etc/shadow", ""), entry(tar.TypeSymlink, "up", "../../../../etc/passwd"), entry(tar.TypeSymlink, "round", "round"), entry(tar.TypeReg, "opaque/new", "")},
	} {
		if _, err := unpack(t, dir, nil, headers...); err != nil {
			t.Fatal(err)
		}
	}
	s := Stack{top, mid, low}
	for path, want := range map[string]string{
		"/etc/passwd": "content of etc/passwd", "/etc/group": "content of usr/lib/group", "etc/shadow": "content of etc/shadow", "/lib/a": "content of usr/lib/a",
		"/up": "content of etc/passwd", "/file/now-a-folder": "content of file/now-a-folder", "/opaque/new": "content of opaque/new", "/etc/../etc/./passwd": "content of etc/passwd",
	} {
		if raw, err := s.ReadFile(path); err != nil || string(raw) != want {
			t.Errorf("%s: %q, %v; want %q", path, raw, err, want)
		}
	}
	for _, path := range []string{"/gone/x", "/opaque/old", "/nothing", "/etc/passwd/x", "/round", "/etc", "/"} {
		if raw, err := s.ReadFile(path); err == nil {
			t.Errorf("%s: %q", path, raw)
		}
	}
	if _, err := s.ReadFile("/gone/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a deleted file: %v", err)
	}
	for path, want := range map[string]bool{"/etc": true, "/etc/passwd": true, "/gone": false, "/opaque": true, "/opaque/old": false} {
		if s.Has(path) != want {
			t.Errorf("has %s: %v", path, !want)
		}
	}
}

func TestChainIDs(t *testing.T) {
	// The example of the OCI image specification's formula, worked out with sha256sum.
	a := "sha256:" + strings.Repeat("a", 64)
	sum := sha256.Sum256([]byte(a + " " + a))
	if got, want := ChainIDs([]string{a, a}), []string{a, "sha256:" + hex.EncodeToString(sum[:])}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
