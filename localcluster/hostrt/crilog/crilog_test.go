package crilog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCopy(t *testing.T) {
	long := strings.Repeat("x", maxText)
	for name, tt := range map[string]struct {
		in   string
		want []string
	}{
		"nothing":              {"", nil},
		"lines":                {"a\nb\n", []string{"F a", "F b"}},
		"an empty line":        {"\n", []string{"F "}},
		"no newline at end":    {"a\nb", []string{"F a", "P b"}},
		"a carriage return":    {"1%\r2%\n", []string{"F 1%\r2%"}},
		"longer than a record": {long + "y\nz\n", []string{"P " + long, "F y", "F z"}},
		"just a record":        {long + "\n", []string{"P " + long, "F "}},
		"long, cut off":        {long, []string{"P " + long}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "0.log")
			l, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Copy("stderr", strings.NewReader(tt.in)); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(string(raw)) {
				stamp, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
					t.Errorf("line %q: %v", line, err)
				}
				text, ok := strings.CutPrefix(rest, "stderr ")
				if !ok {
					t.Errorf("line %q does not name its stream", line)
				}
				got = append(got, text)
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("records %.80q, want %.80q", got, tt.want)
			}
		})
	}
}

func TestReopenGoesOnInANewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	write := func(text string) {
		t.Helper()
		if err := l.Copy("stdout", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("after\n")
	for file, want := range map[string]string{path + ".1": " stdout F before\n", path: " stdout F after\n"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(raw), want) || strings.Count(string(raw), "\n") != 1 {
			t.Errorf("%s holds %q, want one line that ends in %q", file, raw, want)
		}
	}
}

func TestCopyReadsOnWhenTheDiskIsFull(t *testing.T) {
	l, err := Open("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in := strings.NewReader("a\nb\nc\n")
	if err := l.Copy("stdout", in); err == nil {
		t.Error("the write error was swallowed")
	}
	if in.Len() != 0 {
		t.Errorf("%d bytes were left unread: the container would block", in.Len())
	}
}
