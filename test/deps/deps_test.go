package deps

import (
	"slices"
	"strings"
	"testing"
)

// pillars are the five workloads; each stands alone.
var pillars = []string{"notebook", "train", "workflows", "hpo", "serve"}

// mayNot says which folders a part of the tree must not reach into.
var mayNot = []struct {
	from, why string
	to        []string
}{
	{"localcluster", "a driver knows nothing of the workloads that run in it", append([]string{"platform", "project", "sync"}, pillars...)},
	{"platform", "what pillars share knows no pillar", append([]string{"localcluster", "project"}, pillars...)},
	{"train", "a pillar speaks to the Kubernetes API only", []string{"localcluster", "project"}},
	{"sync/watch", "files change without a cluster", append([]string{"localcluster", "platform", "project"}, pillars...)},
	{"version", "a leaf", []string{"localcluster", "platform", "project", "train", "assets"}},
	{"assets", "a leaf", []string{"localcluster", "platform", "project", "train"}},
}

// vocabulary are small leaves that both sides of a border speak: the form of a
// message about a file, and the annotation that names a pod's project.
var vocabulary = []string{"project/problem", "localcluster/projects"}

func TestDirection(t *testing.T) {
	goFiles(t)
	for _, p := range mustOwn(t) {
		from := p.folder()
		if in := p.imports(); slices.Contains(vocabulary, from) && slices.ContainsFunc(in, func(to string) bool { return !inside(to, "localcluster/datadir") }) {
			t.Errorf("%s imports %v: a leaf that both sides speak stays one", from, in)
		}
		for _, to := range p.imports() {
			if inside(to, "cmd") && !sameProgram(from, to) {
				t.Errorf("%s imports %s: nobody imports a program", from, to)
			}
			if inside(to, "ui") && !inside(from, "ui") && !inside(from, "cmd/studio") {
				t.Errorf("%s imports %s: only the desktop app imports the window", from, to)
			}
			if a, b := pillarOf(from), pillarOf(to); a != "" && b != "" && a != b {
				t.Errorf("%s imports %s: a pillar imports no other; what two share moves down", from, to)
			}
			for _, rule := range mayNot {
				for _, forbidden := range rule.to {
					if inside(from, rule.from) && inside(to, forbidden) && !slices.Contains(vocabulary, to) {
						t.Errorf("%s imports %s: %s", from, to, rule.why)
					}
				}
			}
		}
	}
}

// sameProgram: cmd/studio/cli belongs to cmd/studio.
func sameProgram(from, to string) bool {
	parts := strings.SplitN(to, "/", 3)
	return len(parts) > 1 && inside(from, "cmd/"+parts[1])
}

func pillarOf(folder string) string {
	top, _, _ := strings.Cut(folder, "/")
	if slices.Contains(pillars, top) {
		return top
	}
	return ""
}

// Kubernetes itself is linked by the engine alone: it is 10 minutes of compiling and 100 MB.
func TestOnlyTheEngineLinksKubernetes(t *testing.T) {
	links := func(p pkg) bool {
		return slices.ContainsFunc(p.Deps, func(d string) bool { return strings.HasPrefix(d, "k8s.io/kubernetes/") })
	}
	if !links(program(t, "cmd/studiod")) {
		t.Error("cmd/studiod does not link k8s.io/kubernetes; this test no longer tells the programs apart")
	}
	for _, folder := range []string{"cmd/studio", "cmd/studio-platform", "cmd/studio-shim", "cmd/studio-agent"} {
		if links(program(t, folder)) {
			t.Errorf("%s links k8s.io/kubernetes; `go list -deps ./%s` shows by which way", folder, folder)
		}
	}
}

// The two programs that live in or beside every pod stay tiny: each module
// they link is named here on purpose, and none of them speaks HTTP.
func TestSmallProgramsStaySmall(t *testing.T) {
	for folder, allowed := range map[string][]string{
		"cmd/studio-agent": {module, "golang.org/x/sys"},
		"cmd/studio-shim": {
			module, "golang.org/x/sys", "github.com/opencontainers/runc", "github.com/moby/profiles/seccomp",
			// What libcontainer brings along.
			"github.com/checkpoint-restore/go-criu/v8", "github.com/containerd/console", "github.com/coreos/go-systemd/v22",
			"github.com/cyphar/filepath-securejoin", "cyphar.com/go-pathrs", "github.com/godbus/dbus/v5", "github.com/moby/sys/capability",
			"github.com/moby/sys/mountinfo", "github.com/moby/sys/user", "github.com/moby/sys/userns", "github.com/mrunalp/fileutils",
			"github.com/opencontainers/cgroups", "github.com/opencontainers/runtime-spec", "github.com/opencontainers/selinux",
			"github.com/sirupsen/logrus", "github.com/vishvananda/netlink", "github.com/vishvananda/netns",
			"github.com/aperturerobotics/protobuf-go-lite",
		},
	} {
		p := program(t, folder)
		linked, err := list(append([]string{"--"}, p.Deps...)...)
		if err != nil {
			t.Fatal(err)
		}
		if len(linked) < 10 {
			t.Fatalf("%s: go list names only %d linked packages", folder, len(linked))
		}
		for _, d := range linked {
			if !d.Standard && (d.Module == nil || !slices.Contains(allowed, d.Module.Path)) {
				t.Errorf("%s links %s, which is not on its list", folder, d.ImportPath)
			}
			if d.ImportPath == "net/http" || d.ImportPath == "crypto/tls" {
				t.Errorf("%s links %s, which alone is several MB for every pod", folder, d.ImportPath)
			}
		}
	}
}
