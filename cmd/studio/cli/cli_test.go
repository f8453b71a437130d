package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mlstudio/studio/localcluster"
	"github.com/mlstudio/studio/localcluster/doctor"
	"github.com/mlstudio/studio/project/follow"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares output with a file; -update writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test ./cmd/studio/cli -update writes it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got\n%s\nwant\n%s", path, got, want)
	}
}

// studio runs one command line on a data directory that does not exist.
func studio(t *testing.T, args ...string) (out, errs string, err error) {
	t.Helper()
	t.Setenv("STUDIO_DATA_DIR", filepath.Join(t.TempDir(), "data"))
	var o, e bytes.Buffer
	err = Run(t.Context(), Streams{In: strings.NewReader(""), Out: &o, Err: &e}, args)
	return o.String(), e.String(), err
}

func TestErrorsHaveACauseAndACure(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"up --nope", "error: unknown flag: --nope\n  fix: `studio up --help` lists the flags\n"},
		{"status x", "error: studio status takes no argument, got \"x\"\n  fix: `studio status --help` shows its use\n"},
		{"status -o xml", "error: studio status has no output \"xml\"\n  fix: use -o json or -o yaml\n"},
		{"up --driver docker", "error: there is no driver \"docker\"\n  fix: use --driver embedded\n"},
		{"logs", "error: want one run, got 0\n  fix: studio logs NAME or KIND/NAME\n"},
		{"image nope", "error: studio image takes no argument, got \"nope\"\n  fix: `studio image --help` shows its use\n"},
		{"image import", "error: want one archive and maybe a name, got 0 arguments\n  fix: studio image import FILE, or - for standard input\n"},
		{"image import --rootfs dir", "error: an image of a root file system needs a name\n  fix: studio image import --rootfs dir NAME\n"},
		{"image import file -- sh", "error: an archive's images have settings of their own\n  fix: leave the command and the settings out, or give --rootfs with a root file system\n"},
		{"up --images=docker", "error: images \"docker\": want one of auto, oci, host\n  fix: studio up --images=auto\n"},
		{"run nowhere.yaml", "error: nowhere.yaml: there is no such file or folder\n"},
	} {
		out, errs, err := studio(t, strings.Fields(c.args)...)
		if errs != c.want || out != "" || ExitCode(err) != 1 {
			t.Errorf("%s: got %q on the error stream, %q, %v; want %q", c.args, errs, out, err, c.want)
		}
	}
}

func TestErrorsAsJSON(t *testing.T) {
	t.Chdir(t.TempDir())
	_, errs, _ := studio(t, "run", "-o", "json")
	var e struct{ Error, Cure string }
	if err := json.Unmarshal([]byte(errs), &e); err != nil || e.Error != "nothing to run was named" || e.Cure == "" {
		t.Errorf("got %q, %v", errs, err)
	}
}

func TestStatusStartsNothing(t *testing.T) {
	out, _, err := studio(t, "status", "-o", "json")
	var s localcluster.Status
	if jerr := json.Unmarshal([]byte(out), &s); err != nil || jerr != nil || s.Running || s.Driver != "embedded" {
		t.Errorf("got %q, %v, %v", out, err, jerr)
	}
	if _, err := os.Stat(s.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory was made: %v", err)
	}
	if _, _, err := studio(t, "status", "-q"); ExitCode(err) != 1 {
		t.Errorf("a stopped engine gives exit code %d", ExitCode(err))
	}
}

func TestDeleteAsksAndWithoutAPersonRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "volumes", "pvc-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "volumes", "pvc-1", "model"), make([]byte, 2_500_000), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	err := Run(t.Context(), Streams{In: strings.NewReader("y\n"), Out: &out, Err: &errs}, []string{"delete", "--data-dir", dir})
	if ExitCode(err) != 1 || !strings.Contains(errs.String(), "volume pvc-1, 2.5 MB") || !strings.Contains(errs.String(), "fix: run `studio delete --yes`") {
		t.Errorf("got %q, %v", errs.String(), err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("it was deleted: %v", err)
	}
}

func TestStatusForPeople(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	runs := []run{{Kind: "TrainJob", Namespace: "default", Name: "digits", State: "Succeeded", Created: now.Add(-time.Minute)}}
	for i, s := range []localcluster.Status{
		{Driver: "embedded", DataDir: "/data", Running: true, Version: "v0.1", APIServer: "https://127.0.0.1:4711", Kubeconfig: "/data/kubeconfig",
			Processes: []localcluster.Process{{Name: "engine", PID: 12, State: "running", Since: now.Add(-90 * time.Second)}, {Name: "platform", State: "restarting", Restarts: 2, Message: "exit code 1"}}},
		{Driver: "embedded", DataDir: "/data", Pods: true},
		{Driver: "embedded", DataDir: "/data", Phases: map[string]string{"api": "started"}},
		{Driver: "embedded"},
	} {
		full := statusReport{Status: s}
		if i == 0 {
			full.Runs = runs
		}
		if err := printStatus(&out, full, now); err != nil {
			t.Fatal(err)
		}
		out.WriteString("----\n")
	}
	golden(t, "status.txt", out.Bytes())
}

func TestFindingsForPeople(t *testing.T) {
	found := []doctor.Finding{
		{Code: "a", Severity: doctor.OK, Title: "disk space", Cause: "20.0 GB are free"},
		{Code: "b", Severity: doctor.Warning, Title: "users of pods", Cause: "newuidmap is not installed", Cure: "sudo apt-get install uidmap"},
		{Code: "c", Severity: doctor.Error, Title: "namespaces and mounts", Cause: "forbidden", Cure: "sudo sysctl -w x=1"},
	}
	var out bytes.Buffer
	for _, quiet := range []bool{false, true} {
		if err := printFindings(&out, found, quiet); err != nil {
			t.Fatal(err)
		}
		out.WriteString("----\n")
	}
	golden(t, "doctor.txt", out.Bytes())
}

func TestSummary(t *testing.T) {
	var out bytes.Buffer
	for _, s := range []summary{
		{Kind: "TrainJob", Name: "digits", Outcome: "Succeeded", Seconds: 4.21, Metrics: []string{"accuracy: 0.9800"},
			Claims: []claim{{Name: "digits-model", Folder: "/data/volumes/pvc-1", Files: []string{"model.pkl (146.5 kB)"}}}},
		{Kind: "Job", Name: "j", Outcome: "Failed", Reason: "container x of pod j-1 exited with code 127", ExitCode: 127, Seconds: 71, Restarts: 2, Claims: []claim{{Name: "far"}}},
	} {
		out.WriteString(strings.Join(s.lines(), "\n") + "\n")
	}
	golden(t, "summary.txt", out.Bytes())
}

func TestScreenNamesContainersOnceThereAreSeveral(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, func(string, ...any) {})
	a, b := follow.Source{Pod: "p-0", Container: "node"}, follow.Source{Pod: "p-1", Container: "node"}
	s.Line(a, []byte("alone"))
	s.Line(b, []byte("two"))
	s.Line(a, []byte("one"))
	if got, want := out.String(), "alone\n[p-1/node] two\n[p-0/node] one\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMetricsAreTheLastOfEachName(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"named lines":  {"epoch=1 loss=0.5\naccuracy: 0.91\nloss: 1e-3\naccuracy: 0.98", "loss: 1e-3|accuracy: 0.98"},
		"pairs":        {"epoch=1 loss=0.5\nepoch=2 loss=0.25 done\nsaved", "epoch=2 loss=0.25 done"},
		"no metrics":   {"Traceback: File x\nhttp://host:80\npath: /a/b\n12: 5", ""},
		"at most five": {"a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6", "b: 2|c: 3|d: 4|e: 5|f: 6"},
		"percent":      {"top-1: 93.5%", "top-1: 93.5%"},
	} {
		var m metrics
		for line := range strings.SplitSeq(c.text, "\n") {
			m.take(line)
		}
		if got := strings.Join(m.lines(), "|"); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestShellQuote(t *testing.T) {
	if got, want := shellQuote("/a b/it's"), `'/a b/it'\''s'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
