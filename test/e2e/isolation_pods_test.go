//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// victim has something of each kind that another pod could be after.
const victim = `
export SECRET=word-of-victim
echo secret-of-victim | tee /data/secret-of-victim /tmp/secret-of-victim /dev/shm/secret-of-victim >/dev/null
sleep 424242 &
echo ready
trap "echo was signalled; exit 9" HUP INT TERM USR1
while :; do sleep 0.2; done
`

// prying tries all that a pod can try, as whatever user its containers have, and
// prints what it found.
const prying = `
import glob, os, signal, socket
# Where the pod shares its processes, 1 holds the pod itself.
own = {os.getpid(), 1, *map(int, os.listdir("/proc/1/task"))}
def read(path):
    try:
        with open(path, "rb") as f: return f.read()
    except OSError: return b""
# Processes: by their folders, by their numbers, and with signals.
for d in glob.glob("/proc/[0-9]*"):
    if int(d[6:]) in own: continue
    text = read(d + "/cmdline") + read(d + "/environ")
    if b"424242" in text or b"word-of-" + b"victim" in text: print("found the process", d)
    for name in "secret-of-" + "victim", "data/secret-of-" + "victim", "tmp/secret-of-" + "victim":
        if read(d + "/root/" + name): print("found through", d)
for n in range(1, 1 << 16):
    if n in own: continue
    try: os.kill(n, signal.SIGTERM)
    except OSError: continue
    print("signalled", n)
try: os.kill(-1, signal.SIGTERM)
except OSError: pass
# Files: wherever a pod's own may lie.
for top in "/tmp", "/dev/shm", "/var", "/run", "/data", "/mnt", "/home", "/root", DATA:
    for folder, _, files in os.walk(top):
        for f in files:
            if f == "secret-of-" + "victim" or b"secret-of-" + b"victim" in (read(os.path.join(folder, f)) if f.startswith("secret") else b""):
                print("found the file", os.path.join(folder, f))
# Sockets: the engine's by their paths, and what is bound without one.
for path in SOCKETS:
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(path)
        print("reached", path)
    except OSError: pass
    s.close()
for line in read("/proc/net/unix").decode().splitlines()[1:]:
    print("sees the socket", line)
# The devices of the machine.
for dev in "sda", "vda", "nvme0n1", "mem", "kmsg":
    if read("/dev/" + dev)[:1]: print("read /dev/" + dev)
for major, minor in (8, 0), (252, 0), (254, 0), (259, 0), (1, 1):
    try: os.mknod("/tmp/device", 0o600 | 0o060000, os.makedev(major, minor))
    except OSError: continue
    if read("/tmp/device")[:1]: print("read device", major, minor)
    os.unlink("/tmp/device")
# The settings of the machine.
for path in "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger", "/sys/fs/cgroup/cgroup.procs", "/sys/kernel/mm/transparent_hugepage/enabled":
    try:
        with open(path, "w") as f: pass
    except OSError: continue
    print("may write", path)
print("tried all")
`

// TestIsolationPods: a pod neither sees nor harms another, nor the engine.
func TestIsolationPods(t *testing.T) {
	e := newEngine(t)
	e.up()
	sockets, err := filepath.Glob(filepath.Join(e.dir.Run(), "*.sock"))
	if err != nil || len(sockets) < 4 {
		t.Fatalf("only these sockets are there: %v, %v", sockets, err)
	}
	p := shell("victim", victim)
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	e.start(p)
	e.await("victim", "running", running)

	script := strings.ReplaceAll(prying, "SOCKETS", pythonList(sockets))
	script = strings.ReplaceAll(script, "DATA", fmt.Sprintf("%q", e.dir.String()))
	for name, change := range map[string]func(*corev1.Pod){
		"plain": func(*corev1.Pod) {},
		"shared-pids": func(p *corev1.Pod) {
			yes := true
			p.Spec.ShareProcessNamespace = &yes
		},
		"host-ipc": func(p *corev1.Pod) { p.Spec.HostIPC = true },
	} {
		t.Run(name, func(t *testing.T) {
			e := e.in(t)
			p := shell("pries-"+name, "")
			p.Spec.Containers[0].Command = []string{"/usr/bin/python3", "-c", script}
			change(p)
			out := e.output(p)
			if out != "tried all\n" {
				t.Errorf("it printed %q", out)
			}
		})
	}
	last := e.await("victim", "running", running)
	if n := last.Status.ContainerStatuses[0].RestartCount; n != 0 {
		t.Errorf("the other pod was restarted %d times", n)
	}
	if out := e.logs("victim"); out != "ready\n" {
		t.Errorf("the other pod said %q", out)
	}
}

func pythonList(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
