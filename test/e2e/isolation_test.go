//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/mlstudio/studio/test/proc"
)

func TestIsolation(t *testing.T) {
	e := newEngine(t)
	e.up()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	secretFolder, err := os.MkdirTemp(home, "studio-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(secretFolder) })
	secret := write(t, secretFolder, "secret", "the-users-secret")

	// Each try prints what it read; the end says that all were made.
	tries := []string{
		"cat " + secret, "ls -a " + secretFolder, "cat /proc/1/root" + secret,
		"cat " + filepath.Join(e.dir.PKI(), "*"), "ls " + e.dir.PKI(), "ls " + e.dir.DB(), "cat " + e.dir.Kubeconfig(),
		"cat " + e.dir.NodeKubeconfig(), "ls " + e.dir.Run(), "ls " + e.dir.Volumes(),
	}
	script := strings.Join(tries, " 2>/dev/null; ") + " 2>/dev/null; echo tried %d; test -x /bin/sh && echo the host is the image"
	check := func(t *testing.T, out string) {
		t.Helper()
		want := fmt.Sprintf("tried %d\nthe host is the image\n", len(tries))
		if out != want {
			t.Errorf("the pod printed %q, want %q", out, want)
		}
	}

	t.Run("a pod sees neither the home nor the data directory", func(t *testing.T) {
		e := e.in(t)
		check(t, e.output(shell("looks", fmt.Sprintf(script, len(tries)))))
	})
	t.Run("hostPath does not open them either", func(t *testing.T) {
		e := e.in(t)
		for name, path := range map[string]string{"home": secretFolder, "data": e.dir.PKI()} {
			p := shell("hostpath-"+name, "ls -a /mnt; cat /mnt/*; echo tried")
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/mnt"}}
			e.start(p)
			// Either it never starts, which an event explains, or it sees an empty folder.
			last := e.await(p.Name, "refused or ended", func(p *corev1.Pod) bool { return ended(p) || stuck(p) })
			if !ended(last) {
				t.Logf("hostPath %s: %s", path, describe(last))
				continue
			}
			if out := e.logs(p.Name); strings.Contains(out, "secret") || strings.Contains(out, "BEGIN") || strings.Contains(out, ".key") {
				t.Errorf("hostPath %s shows %q", path, out)
			}
		}
	})
	t.Run("a privileged pod among the node's processes does not find them either", func(t *testing.T) {
		e := e.in(t)
		yes := true
		p := shell("privileged", fmt.Sprintf("for p in /proc/[0-9]*; do cat $p/root%s $p/cwd/%s $p/root%s/* 2>/dev/null; done; cat /proc/[0-9]*/comm", secret, filepath.Base(secret), e.dir.PKI()))
		p.Spec.HostPID = true
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		out := e.output(p)
		// That it sees the kubelet's process shows that there was something to look through.
		if strings.Contains(out, "secret") || strings.Contains(out, "BEGIN") || !strings.Contains(out, "studiod\n") {
			t.Errorf("it printed %q", out)
		}
	})
	t.Run("a project's home outlives its pods and is not the user's", func(t *testing.T) {
		e := e.in(t)
		folder := tempFolder(t)
		write(t, folder, "studio.yaml", "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\nname: homes\nmanifests: [job.yaml]\n")
		write(t, folder, "data.txt", "seen\n")
		write(t, folder, "job.yaml", trainJob("homes", fmt.Sprintf(`cat data.txt; cat ~/kept 2>/dev/null; echo kept > ~/kept; cat %s 2>/dev/null; echo done`, secret)))
		first, second := e.studio("run", folder), e.studio("run", folder)
		for _, r := range []result{first, second} {
			if !strings.Contains(r.stdout, "seen") || strings.Contains(r.stdout, "the-users-secret") {
				t.Errorf("%s", r)
			}
		}
		if strings.Contains(first.stdout, "kept") || !strings.Contains(second.stdout, "kept") {
			t.Errorf("the second run must read what the first left in HOME:\n%s\n%s", first, second)
		}
	})
	t.Run("a .venv in the user's home works at its own path", func(t *testing.T) {
		e := e.in(t)
		folder, err := os.MkdirTemp(home, "studio-e2e-venv-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(folder) })
		if out, err := exec.Command("/usr/bin/python3", "-m", "venv", "--without-pip", filepath.Join(folder, ".venv")).CombinedOutput(); err != nil {
			t.Fatalf("making a .venv: %v\n%s", err, out)
		}
		write(t, folder, "studio.yaml", "apiVersion: studio.mlstudio.dev/v1alpha1\nkind: Project\nname: venv\nmanifests: [job.yaml]\n")
		write(t, folder, "job.yaml", trainJob("venv", fmt.Sprintf(`python3 -c "import sys; print('prefix', sys.prefix)"; cat %s 2>/dev/null; echo done`, secret)))
		r := e.studio("run", folder)
		if !strings.Contains(r.stdout, "prefix "+filepath.Join(folder, ".venv")) || strings.Contains(r.stdout, "the-users-secret") {
			t.Error(r)
		}
	})
	t.Run("nobody without the certificate is let in", func(t *testing.T) {
		e := e.in(t)
		c := rest.AnonymousClientConfig(e.config())
		client, err := rest.HTTPClientFor(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/api", "/version", "/api/v1/secrets", "/metrics"} {
			res, err := client.Get(c.Host + path)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("GET %s without credentials: %s", path, res.Status)
			}
		}
	})
	t.Run("everything listens on loopback", func(t *testing.T) {
		e := e.in(t)
		ls, err := proc.Listeners(e.processes())
		if err != nil {
			t.Fatal(err)
		}
		if len(ls) == 0 {
			t.Fatal("no listener found, not even the API server's")
		}
		for _, l := range ls {
			if !l.Address.Addr().IsLoopback() {
				t.Errorf("%s listens on %s", l.Process, l.Address)
			}
		}
	})
	t.Run("another user cannot reach the engine", func(t *testing.T) { anotherUser(t, e) })
}

// stuck: a container waits with a reason, or the kubelet could not mount.
func stuck(p *corev1.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting != nil && c.State.Waiting.Reason != "ContainerCreating" {
			return true
		}
	}
	return false
}

func anotherUser(t *testing.T, e *engine) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can become another user; the run as root has this test")
	}
	other, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(other.Uid)
	if err != nil {
		t.Fatal(err)
	}
	// Opening the folder to all shows that the engine's own modes hold.
	if err := os.Chmod(filepath.Dir(e.dir.String()), 0o755); err != nil {
		t.Fatal(err)
	}
	sockets, err := filepath.Glob(filepath.Join(e.dir.Run(), "*.sock"))
	if err != nil || len(sockets) < 4 {
		t.Fatalf("only these sockets are in %s: %v (%v)", e.dir.Run(), sockets, err)
	}
	for _, path := range append(sockets, e.dir.String(), e.dir.Kubeconfig()) {
		cmd := exec.Command("/usr/bin/python3", "-c", `import socket, stat, os, sys
p = sys.argv[1]
try:
    if p.endswith(".sock"): socket.socket(socket.AF_UNIX).connect(p)
    elif os.path.isdir(p): os.listdir(p)
    else: open(p).read()
    print("reached")
except PermissionError: print("refused")`, path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "refused" {
			t.Errorf("user nobody and %s: %s (%v)", path, out, err)
		}
	}
}

// trainJob is a manifest of a job that runs a script on one node.
func trainJob(name, script string) string {
	return fmt.Sprintf(`apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata:
  name: %s
spec:
  runtimeRef:
    name: torch-distributed
  trainer:
    command: ["/bin/sh", "-c", %s]
`, name, strconv.Quote(script))
}
