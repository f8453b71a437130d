//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// soon is the time in which a fault of the machine must be told, with room
// for a busy one: the promise is a second.
const soon = 3 * time.Second

// assertTold: the command failed, in good time, and said what a person needs.
func assertTold(t *testing.T, r result, patterns ...string) {
	t.Helper()
	if r.code == 0 {
		t.Errorf("it must fail: %s", r)
	}
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(r.said()) {
			t.Errorf("its message does not match %q: %s", p, r)
		}
	}
	if strings.Contains(r.said(), "goroutine ") {
		t.Errorf("it shows a stack: %s", r)
	}
	t.Logf("after %.1f s: %s", r.took.Seconds(), strings.TrimSpace(r.stderr))
}

func TestBadInputManifests(t *testing.T) {
	e := newEngine(t)
	e.up()
	folder := tempFolder(t)
	tests := map[string]struct {
		manifest string
		want     []string
	}{
		"broken YAML":   {"apiVersion: v1\nkind: Pod\nmetadata:\n  name: [x\nspec: {}\n", []string{`broken-yaml\.yaml:\d+`}},
		"a wrong type":  {strings.Replace(trainJob("bad", "true"), "  trainer:\n", "  trainer:\n    numNodes: two\n", 1), []string{`a-wrong-type\.yaml:9\b`, `numNodes`}},
		"a wrong field": {strings.Replace(trainJob("bad", "true"), "command:", "comand:", 1), []string{`a-wrong-field\.yaml:9\b`, `comand`}},
		"no kind":       {"apiVersion: v1\nmetadata:\n  name: x\n", []string{`no-kind\.yaml:1\b`, `kind`}},
		"unknown kind":  {"apiVersion: example.org/v1\nkind: Gadget\nmetadata:\n  name: x\n", []string{`unknown-kind\.yaml:\d+`, `Gadget`, `CRD|CustomResourceDefinition`}},
		"an empty file": {"# nothing\n", []string{`an-empty-file\.yaml`}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e := e.in(t)
			file := write(t, folder, strings.ReplaceAll(strings.ToLower(name), " ", "-")+".yaml", tc.manifest)
			assertTold(t, e.try("run", file), tc.want...)
		})
	}
	t.Run("a missing file", func(t *testing.T) {
		assertTold(t, e.in(t).try("run", filepath.Join(folder, "none.yaml")), `none\.yaml`)
	})
	t.Run("a command that does not exist", func(t *testing.T) {
		e := e.in(t)
		file := write(t, folder, "nocommand.yaml", strings.Replace(trainJob("nocommand", "true"), "/bin/sh", "/no/such/program", 1))
		assertTold(t, e.try("run", file), `Failed`, `/no/such/program`)
	})
	t.Run("a script that fails", func(t *testing.T) {
		e := e.in(t)
		file := write(t, folder, "fails.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: fails\nspec:\n  backoffLimit: 0\n"+
			"  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - {name: main, image: host, command: [/bin/sh, -c, 'echo the last words; exit 7']}\n")
		assertTold(t, e.try("run", file), `the last words`, `7`)
	})
}

func TestBadInputMachine(t *testing.T) {
	e := newEngine(t)
	e.up()
	t.Run("a second engine", func(t *testing.T) {
		e := e.in(t)
		r := e.tryIn("", "studiod", "serve")
		assertTold(t, r, `in use|already`, regexp.QuoteMeta(e.dir.String()))
		inTime(t, r)
		if r := e.try("status"); r.code != 0 {
			t.Errorf("the first engine does not answer any more: %s", r)
		}
	})
	e.studio("down")

	t.Run("a taken port", func(t *testing.T) {
		e := e.in(t)
		address := e.config().Host
		address = address[strings.LastIndex(address, "/")+1:]
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(address)
		assertFaults(t, e, port, `in use|taken`)
		l.Close()
		e.up()
		e.studio("down")
	})
	t.Run("a corrupt database", func(t *testing.T) { corruptDatabase(t, e.in(t)) })
	t.Run("a file in place of the data directory", func(t *testing.T) {
		e := e.in(t)
		file := write(t, tempFolder(t), "file", "")
		other := *e
		other.env = append(e.env, "STUDIO_DATA_DIR="+file)
		r := other.try("up", "--driver", "embedded")
		assertTold(t, r, regexp.QuoteMeta(file))
		inTime(t, r)
	})
	t.Run("a full disk", func(t *testing.T) { fullDisk(t, e.root) })
	t.Run("user namespaces are forbidden", func(t *testing.T) { noUserNamespaces(t, e.in(t)) })
}

// assertFaults: both doctor and up tell it in good time; doctor first, since up may act on it.
func assertFaults(t *testing.T, e *engine, patterns ...string) {
	t.Helper()
	for _, args := range [][]string{{"doctor"}, {"up", "--driver", "embedded"}} {
		r := e.try(args...)
		assertTold(t, r, patterns...)
		inTime(t, r)
	}
}

func inTime(t *testing.T, r result) {
	t.Helper()
	if r.took > soon {
		t.Errorf("it took %.1f s to say so", r.took.Seconds())
	}
}

// A database that SQLite cannot read is kept, byte for byte, whatever follows.
func corruptDatabase(t *testing.T, e *engine) {
	name := filepath.Join(e.dir.DB(), "state.db")
	junk := bytes.Repeat([]byte("this is not a database\n"), 1000)
	if _, err := os.Stat(name); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.RemoveAll(name + suffix); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, junk, 0o600); err != nil {
		t.Fatal(err)
	}
	assertFaults(t, e, `database`, `corrupt|damaged|not a (SQLite )?database`)
	kept := false
	err := filepath.WalkDir(e.dir.DB(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			kept = kept || err == nil && bytes.Equal(raw, junk)
		}
		return err
	})
	if err != nil || !kept {
		t.Errorf("no file in %s holds the corrupt database's bytes (%v)", e.dir.DB(), err)
	}
	e.up() // starts with an empty one
	e.studio("down")
}

func fullDisk(t *testing.T, root string) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can mount a small disk; the run as root has this test")
	}
	folder := tempFolder(t)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=600m,mode=0700", "tmpfs", folder).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: this machine lets nobody mount a tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", folder).CombinedOutput(); err != nil {
			t.Errorf("unmounting the small disk: %v: %s", err, out)
		}
	})
	e := engineIn(t, root, folder)
	e.up()
	e.studio("down")
	ballast := filepath.Join(folder, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<16)
	for err == nil {
		_, err = f.Write(block)
	}
	if err := f.Close(); err != nil {
		t.Logf("closing the file that fills the disk: %v", err)
	}
	assertFaults(t, e, `full|space`, regexp.QuoteMeta(folder))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	e.up()
}

// A user namespace that may hold no other stands for a machine that forbids
// them: the limit is the namespace's own and touches no host setting.
func noUserNamespaces(t *testing.T, e *engine) {
	if os.Getuid() == 0 {
		t.Skip("SKIPPED: root needs no user namespace; the run as a plain user has this test")
	}
	for _, command := range []string{"up --driver embedded", "doctor"} {
		cmd := exec.Command("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
			"echo 0 >/proc/sys/user/max_user_namespaces && exec "+e.bin("studio")+" "+command)
		cmd.Env = e.env
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		start := time.Now()
		err := cmd.Run()
		r := result{args: strings.Fields(command), stderr: said.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(start)}
		if err == nil {
			r.code = 0
		}
		assertTold(t, r, `user namespace`)
		inTime(t, r)
	}
}

func TestBadInputDoctorOnAHealthyMachine(t *testing.T) {
	e := newEngine(t)
	r := e.studio("doctor", "-o", "json")
	var findings any
	if err := json.Unmarshal([]byte(r.stdout), &findings); err != nil {
		t.Error(fmt.Errorf("doctor -o json: %w in %s", err, r))
	}
	if _, err := os.Stat(e.dir.String()); err == nil {
		t.Error("doctor made the data directory; it must change nothing")
	}
}
