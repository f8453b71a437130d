package hostrt_test

import (
	"archive/zip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestWriteToTheSystem does to the system's trees what package managers do:
// with or without root all of it works, and goes with the container.
func TestWriteToTheSystem(t *testing.T) {
	n := newNode(t)
	out := n.must(`set -e
		mkdir /usr/local/lib/studio-test /usr/lib/studio-test /etc/studio-test.d /var/lib/studio-test /opt/studio-test
		echo 'echo made' >/usr/local/bin/studio-test; chmod +x /usr/local/bin/studio-test; studio-test
		cp /usr/bin/env /usr/bin/env.new; mv /usr/bin/env.new /usr/bin/env; env -i echo replaced
		rm /usr/bin/yes; ls /usr/bin/yes 2>/dev/null || echo removed
		ln -s env /usr/bin/studio-link; readlink /usr/bin/studio-link
		test -s /etc/passwd; echo seen`)
	if want := "made\nreplaced\nremoved\nenv\nseen\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	for _, p := range []string{"/usr/local/bin/studio-test", "/usr/bin/studio-link", "/etc/studio-test.d"} {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("a container made %s on this machine", p)
		}
	}
	n.must("test -x /usr/bin/yes && test ! -e /usr/local/bin/studio-test && test ! -e /usr/lib/studio-test")

	// What a file holds stays whose it was.
	out = n.must("(echo >>/usr/bin/yes) 2>/dev/null && echo changed || echo refused")
	if want := map[bool]string{true: "changed\n", false: "refused\n"}[mode() == "root"]; out != want {
		t.Errorf("changing a file in place: %q, want %q", out, want)
	}
	if said := n.said("HostImage"); strings.Contains(said, "not changed in place") == (mode() == "root") {
		t.Errorf("what is said of it: %s", said)
	}
}

// TestPip installs a package where the system's Python finds it.
func TestPip(t *testing.T) {
	if err := exec.Command("/usr/bin/python3", "-m", "pip", "--version").Run(); err != nil {
		t.Skip("the system's Python has no pip here, so nothing is tried (install python3-pip)")
	}
	n := newNode(t)
	wheels := filepath.Join(n.dir(), "volumes", "wheels")
	if err := os.MkdirAll(wheels, 0o755); err != nil {
		t.Fatal(err)
	}
	makeWheel(t, wheels, "1")
	pip := "/usr/bin/python3 -m pip --disable-pip-version-check --no-cache-dir "
	install := pip + "install --quiet --no-index --no-warn-script-location --root-user-action ignore --break-system-packages --find-links /mnt "
	c := n.pod().run(strings.Join([]string{
		"set -e",
		install + "studiotest",
		"/usr/bin/python3 -c 'import studiotest; print(studiotest.version)'",
	}, "\n"), func(c *rt.ContainerConfig) { c.Mounts = []*rt.Mount{{ContainerPath: "/mnt", HostPath: wheels}} })
	// Seconds for each start of pip where the machine is busy.
	st := c.waitFor(2 * time.Minute)
	if got := c.output("stdout"); st.ExitCode != 0 || got != "1\n" {
		t.Errorf("ended with %d and printed %q, want 1: %s", st.ExitCode, got, c.output("stderr"))
	}
	n.must("! /usr/bin/python3 -c 'import studiotest' 2>/dev/null")
}

// makeWheel writes the smallest package that pip takes.
func makeWheel(t *testing.T, dir, version string) {
	t.Helper()
	name := "studiotest-" + version
	f, err := os.Create(filepath.Join(dir, name+"-py3-none-any.whl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	info := name + ".dist-info/"
	for _, e := range [][2]string{
		{"studiotest/__init__.py", "version = " + version + "\n"},
		{info + "METADATA", "Metadata-Version: 2.1\nName: studiotest\nVersion: " + version + "\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: studio\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", "studiotest/__init__.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(e[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}
