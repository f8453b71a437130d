package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/project/apply"
	"github.com/mlstudio/studio/project/follow"
)

// summary closes a run.
type summary struct {
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	Outcome   string   `json:"outcome"`
	Reason    string   `json:"reason,omitempty"`
	ExitCode  int      `json:"exitCode"`
	Seconds   float64  `json:"seconds"`
	Restarts  int32    `json:"restarts,omitempty"`
	Metrics   []string `json:"metrics,omitempty"`
	Claims    []claim  `json:"claims,omitempty"`
}

// claim is a volume that the run used and where it lies on this machine.
type claim struct {
	Name   string   `json:"name"`
	Folder string   `json:"folder,omitempty"`
	Files  []string `json:"files,omitempty"`
}

func (a *app) summarize(ctx context.Context, client *apply.Client, t follow.Target, r *follow.Result, s *screen) summary {
	return summary{
		Kind: t.Object.GetKind(), Namespace: t.Object.GetNamespace(), Name: t.Object.GetName(),
		Outcome: string(r.Outcome.State), Reason: r.Outcome.Reason, ExitCode: r.ExitCode,
		Seconds: r.Took.Round(time.Millisecond).Seconds(), Restarts: r.Outcome.Restarts,
		Metrics: s.metrics.lines(),
		Claims:  claims(ctx, client, r.Pods, t.Object.GetCreationTimestamp().Time),
	}
}

// claims finds the volumes of the pods. What can not be found is left out: the
// run is over, and this is a courtesy.
func claims(ctx context.Context, client *apply.Client, pods []corev1.Pod, since time.Time) []claim {
	var out []claim
	seen := map[string]bool{}
	for _, p := range pods {
		for _, v := range p.Spec.Volumes {
			if v.PersistentVolumeClaim == nil || seen[v.PersistentVolumeClaim.ClaimName] {
				continue
			}
			c := claim{Name: v.PersistentVolumeClaim.ClaimName}
			seen[c.Name] = true
			c.Folder = folder(ctx, client, p.Namespace, c.Name)
			if c.Folder != "" {
				c.Files = recent(c.Folder, since)
			}
			out = append(out, c)
		}
	}
	return out
}

// folder is where a claim's volume lies on this machine.
func folder(ctx context.Context, client *apply.Client, namespace, name string) string {
	pvc, err := client.Core().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil || pvc.Spec.VolumeName == "" {
		return ""
	}
	pv, err := client.Core().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	path := ""
	switch {
	case pv.Spec.HostPath != nil:
		path = pv.Spec.HostPath.Path
	case pv.Spec.Local != nil:
		path = pv.Spec.Local.Path
	}
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// mostFiles bounds what a summary lists of a volume.
const mostFiles = 4

// recent lists files at the top of a folder that the run wrote.
func recent(dir string, since time.Time) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var files []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), ".") || info.ModTime().Before(since) || len(files) == mostFiles {
			continue
		}
		if e.IsDir() {
			files = append(files, e.Name()+"/")
		} else {
			files = append(files, fmt.Sprintf("%s (%s)", e.Name(), size(filepath.Join(dir, e.Name()))))
		}
	}
	return files
}

func (a *app) printSummaries(list []summary) error {
	if a.output != "" {
		return printAs(a.Out, a.output, list)
	}
	if a.quiet {
		return nil
	}
	for _, s := range list {
		for _, line := range s.lines() {
			if _, err := fmt.Fprintln(a.Out, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// lines are the card that closes a run.
func (s summary) lines() []string {
	out := []string{"", fmt.Sprintf("%s %s  %s in %s", s.Kind, s.Name, s.Outcome, progress.Seconds(time.Duration(s.Seconds*float64(time.Second))))}
	if s.Restarts > 0 {
		out[1] += fmt.Sprintf(", %d restarts", s.Restarts)
	}
	if s.ExitCode != 0 {
		out[1] += fmt.Sprintf(", exit code %d", s.ExitCode)
	}
	if s.Reason != "" {
		out = append(out, "  "+strings.ReplaceAll(s.Reason, "\n", "\n  "))
	}
	out = append(out, s.Metrics...)
	for _, c := range s.Claims {
		where := c.Folder
		if where == "" {
			where = "(its folder is not on this machine)"
		}
		out = append(out, fmt.Sprintf("  claim %s  %s", c.Name, where))
		if len(c.Files) > 0 {
			out = append(out, "    "+strings.Join(c.Files, ", "))
		}
	}
	next := []string{"studio logs " + s.Name, "studio status", "studio stop"}
	if s.ExitCode != 0 {
		next = []string{"studio logs " + s.Name, fmt.Sprintf("kubectl describe %s %s", strings.ToLower(s.Kind), s.Name), "studio doctor"}
	}
	return append(out, "  next  "+strings.Join(next, " · "))
}
