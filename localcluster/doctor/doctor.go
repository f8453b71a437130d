// Package doctor finds what keeps the local platform from working before the
// person meets it. Checks are data: the command line, the window and `studio up`
// run the same list and show the same findings.
package doctor

import (
	"context"
	"os"
	"os/user"
	"path/filepath"
	"sync"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// Severity says how much a finding matters.
type Severity string

// OK and Info need nothing done; with a Warning something works less well; with
// an Error the platform does not start or loses something.
const (
	OK      Severity = "ok"
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Finding is the result of one check.
type Finding struct {
	// Code names the check for programs; it does not change.
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`
	// Cause is one sentence on what was found.
	Cause string `json:"cause,omitempty"`
	// Cure is the command or line that mends it.
	Cure string `json:"cure,omitempty"`
}

// Check is one thing to look at.
type Check struct {
	Code, Title string
	// Fatal: without it a start can not succeed, so `up` runs it first. Such a
	// check takes well under a second.
	Fatal bool
	look  func(context.Context, machine) verdict
}

// verdict is a check's answer before its name is put to it.
type verdict struct {
	severity    Severity
	cause, cure string
}

func ok(cause string) verdict            { return verdict{severity: OK, cause: cause} }
func info(cause, cure string) verdict    { return verdict{Info, cause, cure} }
func warning(cause, cure string) verdict { return verdict{Warning, cause, cure} }
func broken(cause, cure string) verdict  { return verdict{Error, cause, cure} }

// machine is what checks look at. Tests give another root.
type machine struct {
	root string
	dir  datadir.Dir
	user user.User
	uid  int
}

func (m machine) path(p string) string { return filepath.Join(m.root, p) }

// text reads a small file of the machine; empty when it can not be read.
func (m machine) text(p string) string {
	raw, err := os.ReadFile(m.path(p))
	if err != nil {
		return ""
	}
	return string(raw)
}

// All is the whole list, in the order in which findings are shown.
func All() []Check {
	return []Check{
		{Code: "programs", Title: "Studio's programs", Fatal: true, look: programs},
		{Code: "data-dir", Title: "data directory", Fatal: true, look: dataDir},
		{Code: "file-system", Title: "file system of the data directory", Fatal: true, look: fileSystem},
		{Code: "disk", Title: "disk space", Fatal: true, look: disk},
		{Code: "lock", Title: "one engine at a time", Fatal: true, look: lock},
		{Code: "port", Title: "port of the API server", Fatal: true, look: port},
		{Code: "database", Title: "database", look: database},
		{Code: "namespaces", Title: "namespaces and mounts", Fatal: true, look: namespacesWork},
		{Code: "nftables", Title: "Services and DNS", Fatal: true, look: nftables},
		{Code: "overlay", Title: "overlay file system", look: overlay},
		{Code: "user-ids", Title: "users of pods", look: userIDs},
		{Code: "cgroups", Title: "limits of memory and CPU", look: cgroups},
		{Code: "inotify", Title: "watching files", look: inotify},
		{Code: "memory", Title: "free memory", look: memory},
		{Code: "python", Title: "Python", look: python},
		{Code: "network-policies", Title: "NetworkPolicies", look: networkPolicies},
		{Code: "network", Title: "addresses of the cluster", look: addresses},
		{Code: "linger", Title: "running after log-out", look: linger},
	}
}

// Fatal are the checks that `up` runs before it starts anything.
func Fatal() []Check {
	var list []Check
	for _, c := range All() {
		if c.Fatal {
			list = append(list, c)
		}
	}
	return list
}

// Run looks at everything in the list at once and returns the findings in its order.
func Run(ctx context.Context, dir datadir.Dir, list []Check) []Finding {
	m := machine{root: "/", dir: dir, uid: os.Getuid()}
	if u, err := user.Current(); err == nil {
		m.user = *u
	}
	return run(ctx, m, list)
}

func run(ctx context.Context, m machine, list []Check) []Finding {
	found := make([]Finding, len(list))
	var all sync.WaitGroup
	for i, c := range list {
		all.Go(func() {
			v := c.look(ctx, m)
			found[i] = Finding{Code: c.Code, Title: c.Title, Severity: v.severity, Cause: v.cause, Cure: v.cure}
		})
	}
	all.Wait()
	return found
}

// Worst is the most serious severity of the findings.
func Worst(found []Finding) Severity {
	rank := map[Severity]int{OK: 0, Info: 1, Warning: 2, Error: 3}
	worst := OK
	for _, f := range found {
		if rank[f.Severity] > rank[worst] {
			worst = f.Severity
		}
	}
	return worst
}
