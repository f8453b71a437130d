//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// volume adds a volume at /v to a pod's first container.
func volume(p *corev1.Pod, change ...func(*corev1.VolumeMount)) {
	m := corev1.VolumeMount{Name: "v", MountPath: "/v"}
	for _, f := range change {
		f(&m)
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, m)
}

// beside adds a container to a pod.
func beside(p *corev1.Pod, name, script string) *corev1.Container {
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: "host", Command: []string{"/bin/sh", "-c", script}})
	return &p.Spec.Containers[len(p.Spec.Containers)-1]
}

// TestPodSecurity runs what a pod may say about its users, rights, namespaces
// and mounts through the kubelet, and looks from inside.
func TestPodSecurity(t *testing.T) {
	e := newEngine(t)
	e.studio("up")
	for name, test := range map[string]func(*testing.T, *engine){
		"users": users, "restricted": restricted, "profile": ownProfile, "processes": processes, "debug": debugContainer,
		"subpaths": subPaths, "propagation": propagation, "sysctls": podSysctls, "ends": ends,
	} {
		t.Run(name, func(t *testing.T) { test(t, e.in(t)) })
	}
	t.Run("preStop", func(t *testing.T) { preStop(t, e.in(t)) })
}

func users(t *testing.T, e *engine) {
	p := shell("users", "id; stat -c '%u %g %a' /v; touch /v/x && stat -c '%u %g' /v/x; touch /y || echo read-only")
	volume(p)
	p.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsUser: ptr.To[int64](1234), RunAsGroup: ptr.To[int64](2000), RunAsNonRoot: ptr.To(true), FSGroup: ptr.To[int64](3000), SupplementalGroups: []int64{4000},
	}
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}
	out := e.output(p)
	if !strings.Contains(out, "uid=1234 gid=2000 groups=2000,3000,4000\n0 3000 2777\n1234 3000\n") || !strings.HasSuffix(out, "read-only\n") {
		t.Errorf("from inside: %q", out)
	}
	last := e.await("users", "ended", ended)
	if u := last.Status.ContainerStatuses[0].User; u == nil || u.Linux == nil || u.Linux.UID != 1234 || len(u.Linux.SupplementalGroups) != 3 {
		t.Errorf("the status says %+v", u)
	}
}

// restricted: a pod that fits the strictest of Kubernetes' standards runs, and
// has what they ask for.
func restricted(t *testing.T, e *engine) {
	p := shell("restricted", "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/keys | wc -c")
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		RunAsUser: ptr.To[int64](1000), RunAsNonRoot: ptr.To(true), AllowPrivilegeEscalation: ptr.To(false),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if out, want := e.output(p), "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n0\n"; out != want {
		t.Errorf("from inside: %q, want %q", out, want)
	}
}

func ownProfile(t *testing.T, e *engine) {
	folder := filepath.Join(e.dir.Kubelet(), "seccomp")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "no-mkdir.json"), []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	p := shell("profile", "mkdir /tmp/d 2>&1; true")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("no-mkdir.json")}}
	if out := e.output(p); !strings.Contains(out, "Operation not permitted") {
		t.Errorf("from inside: %q", out)
	}
}

func processes(t *testing.T, e *engine) {
	const look = "until cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q '^sleep 4871 \\|[^f] sleep 4871 '; do sleep 0.05; done; echo seen"
	p := shell("processes", "sleep 4871 & wait")
	p.Spec.ShareProcessNamespace = ptr.To(true)
	beside(p, "other", look)
	e.start(p)
	e.await("processes", "seen", func(p *corev1.Pod) bool {
		for _, c := range p.Status.ContainerStatuses {
			if c.Name == "other" && c.State.Terminated != nil {
				return c.State.Terminated.ExitCode == 0
			}
		}
		return false
	})
	host := shell("host-pid", "grep -c . /proc/1/cmdline; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c studio-shim")
	host.Spec.HostPID = true
	if out := e.output(host); strings.HasSuffix(out, "\n0\n") {
		t.Errorf("hostPID does not see the node's processes: %q", out)
	}
}

func debugContainer(t *testing.T, e *engine) {
	e.start(shell("debugged", "echo secret >/tmp/mine; exec sleep 4872"))
	e.await("debugged", "running", running)
	pods := e.client().CoreV1().Pods("default")
	p, err := pods.Get(context.Background(), "debugged", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
		TargetContainerName: "main",
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debugger", Image: "host", Command: []string{"/bin/sh", "-c", "tr '\\0' ' ' </proc/1/cmdline; cat /proc/1/root/tmp/mine"},
			SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}}},
		},
	}}
	if _, err := pods.UpdateEphemeralContainers(context.Background(), p.Name, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.await("debugged", "debugged", func(p *corev1.Pod) bool {
		return len(p.Status.EphemeralContainerStatuses) == 1 && p.Status.EphemeralContainerStatuses[0].State.Terminated != nil
	})
	raw, err := pods.GetLogs("debugged", &corev1.PodLogOptions{Container: "debugger"}).Do(context.Background()).Raw()
	if err != nil || string(raw) != "sleep 4872 secret\n" {
		t.Errorf("the debugger saw %q (%v)", raw, err)
	}
}

func subPaths(t *testing.T, e *engine) {
	p := shell("subpaths", "echo $POD >/v/name; cat /all/a/subpaths/name; echo done >/dev/termination-log")
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
	volume(p, func(m *corev1.VolumeMount) { m.SubPathExpr = "a/$(POD)" })
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: "/all", ReadOnly: true, RecursiveReadOnly: ptr.To(corev1.RecursiveReadOnlyEnabled)})
	if out := e.output(p); out != "subpaths\n" {
		t.Errorf("from inside: %q", out)
	}
	if s := e.await("subpaths", "ended", ended).Status.ContainerStatuses[0].State.Terminated; s.Message != "done\n" || s.Reason != "Completed" {
		t.Errorf("ended as %+v", s)
	}
}

// propagation: one container mounts, the node passes it on to another.
func propagation(t *testing.T, e *engine) {
	p := shell("propagation", "mkdir /v/m && mount -t tmpfs t /v/m && echo passed-on >/v/m/x && touch /v/mounted; until [ -e /v/seen ]; do sleep 0.05; done; umount /v/m")
	volume(p, func(m *corev1.VolumeMount) { m.MountPropagation = ptr.To(corev1.MountPropagationBidirectional) })
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	other := beside(p, "other", "until [ -e /v/mounted ]; do sleep 0.05; done; cat /v/m/x; touch /v/seen")
	other.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", MountPropagation: ptr.To(corev1.MountPropagationHostToContainer)}}
	e.start(p)
	if last := e.await("propagation", "ended", ended); last.Status.Phase != corev1.PodSucceeded {
		t.Error(describe(last))
	}
	raw, err := e.client().CoreV1().Pods("default").GetLogs("propagation", &corev1.PodLogOptions{Container: "other"}).Do(context.Background()).Raw()
	if err != nil || string(raw) != "passed-on\n" {
		t.Errorf("the other container saw %q (%v)", raw, err)
	}
}

func podSysctls(t *testing.T, e *engine) {
	p := shell("sysctls", "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ping_group_range")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.shm_rmid_forced", Value: "1"}, {Name: "net.ipv4.ping_group_range", Value: "0 7"}}}
	if out := e.output(p); out != "1\n0\t7\n" {
		t.Errorf("from inside: %q", out)
	}
	bad := shell("unsafe", "true")
	bad.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "10000"}}}
	e.start(bad)
	if last := e.await("unsafe", "refused", ended); last.Status.Reason != "SysctlForbidden" {
		t.Error(describe(last))
	}
}

// ends: how a container's end is told.
func ends(t *testing.T, e *engine) {
	for name, tt := range map[string]struct {
		command []string
		code    int32
		reason  string
		message string
	}{
		"end-error":   {[]string{"/bin/sh", "-c", "echo last words; exit 3"}, 3, "Error", "last words\n"},
		"end-missing": {[]string{"no-such-command"}, 127, "ContainerCannotRun", `"no-such-command": executable file not found`},
		"end-folder":  {[]string{"/etc"}, 126, "ContainerCannotRun", `"/etc"`},
	} {
		p := shell(name, "")
		p.Spec.Containers[0].Command = tt.command
		p.Spec.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		e.start(p)
		s := e.await(name, "ended", ended).Status.ContainerStatuses[0].State.Terminated
		if s == nil || s.ExitCode != tt.code || s.Reason != tt.reason || !strings.Contains(s.Message, tt.message) {
			t.Errorf("%s ended as %+v", name, s)
		}
	}
}

// preStop: hooks run at `studio down`, as long as the pod's grace allows, and
// sidecars end after what they serve.
func preStop(t *testing.T, e *engine) {
	p := shell("hooked", "trap 'sleep 0.3; echo main >>/v/order; exit 0' TERM; touch /v/up; while :; do sleep 0.05; done")
	volume(p)
	p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](20)
	p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sh", "-c", "echo hook >>/v/order; sleep 1; echo late >>/v/order"}}}}
	web := beside(p, "web", "trap 'exit 0' TERM; cd /v; python3 -c 'import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n  def do_GET(s):\n    open(\"asked\", \"w\").write(s.path); s.send_response(200); s.end_headers()\nh.HTTPServer((\"\", 8080), H).serve_forever()' & wait")
	web.VolumeMounts = p.Spec.Containers[0].VolumeMounts
	web.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	web.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("http")}}, PeriodSeconds: 1}
	web.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/bye", Port: intstr.FromString("http")}}}
	p.Spec.InitContainers = []corev1.Container{{
		Name: "sidecar", Image: "host", VolumeMounts: web.VolumeMounts, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
		Command: []string{"/bin/sh", "-c", "trap 'echo sidecar >>/v/order; exit 0' TERM; while :; do sleep 0.05; done"},
	}}
	e.start(p)
	up := e.await(p.Name, "ready", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})
	e.studio("down")
	dir := filepath.Join(e.dir.Kubelet(), "pods", string(up.UID), "volumes", "kubernetes.io~empty-dir", "v")
	for file, want := range map[string]string{"order": "hook\nlate\nmain\nsidecar\n", "asked": "/bye"} {
		if raw, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(raw) != want {
			t.Errorf("%s: %q (%v), want %q", file, raw, err, want)
		}
	}
}
