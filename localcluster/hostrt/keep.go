package hostrt

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/mlstudio/studio/localcluster/hostrt/kept"
)

// dropped are folders whose files are expected to go with the container.
var dropped = []string{"/tmp", "/var/tmp", "/run", "/var/run", "/var/cache", "/var/log", "/dev", "/proc", "/sys", "/root", "/home", "/etc/ld.so.cache"}

// keepFiles saves what a container has written outside volumes before its layer
// is dropped, and names it in an Event.
func (s *Server) keepFiles(c *container) {
	if c.image != nil {
		return // as on any cluster: who brings an image knows that it is not for keeping
	}
	if _, err := os.Lstat(c.layer().Root()); err != nil {
		return // it was never started
	}
	skip := append([]string{}, dropped...)
	for _, m := range c.cfg.GetMounts() {
		skip = append(skip, path.Clean("/"+m.GetContainerPath()))
	}
	if project, err := s.projectOf(c.pod); err == nil && project != nil {
		for _, m := range project.Paths() {
			skip = append(skip, m.Target())
		}
	}
	for _, kv := range c.cfg.GetEnvs() {
		if kv.GetKey() == "HOME" && len(kv.GetValue()) > 1 {
			skip = append(skip, path.Clean("/"+string(kv.GetValue())))
		}
	}
	skip = append(skip, "/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
	sources := []kept.Source{{Dir: c.layer().Root(), At: "/"}}
	for _, t := range s.image.Trees {
		sources = append(sources, kept.Source{Dir: c.layer().Upper(t.Name), At: "/" + t.Name})
	}
	meta, pod := c.cfg.GetMetadata(), c.pod.cfg.GetMetadata()
	name := filepath.Join(pod.GetNamespace()+"_"+pod.GetName(), fmt.Sprintf("%s-%d", meta.GetName(), meta.GetAttempt()))
	result, err := s.kept.Save(name, sources, skip)
	if err != nil {
		s.log.Warn("keeping a container's files", "container", c.id, "error", err)
	}
	if len(result.Files) == 0 {
		return
	}
	s.say(c.pod, Event{Warning: true, Reason: "FilesOutsideVolumes", Message: describeKept(meta.GetName(), result)})
}

// maxNamed is how many files an Event names.
const maxNamed = 10

func describeKept(container string, r kept.Result) string {
	names := r.Files
	more := ""
	if len(names) > maxNamed {
		more = fmt.Sprintf(" and %d more", len(names)-maxNamed)
		names = names[:maxNamed]
	}
	end := "; they did not fit the space for such files and are gone: write to a volume or below HOME"
	if r.Dir != "" {
		end = "; they are kept for a while in " + r.Dir + ": write to a volume or below HOME to keep them"
	}
	return fmt.Sprintf("container %s wrote outside volumes: %s%s%s", container, strings.Join(names, ", "), more, end)
}
