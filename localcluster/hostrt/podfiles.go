package hostrt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Files of a pod that its containers see below /etc.
const (
	resolvFile   = "resolv.conf"
	hostnameFile = "hostname"
)

func (s *Server) writePodFiles(p *pod) error {
	resolv, err := resolvConf(p.cfg.GetDnsConfig())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.dir, resolvFile), resolv, 0o644); err != nil {
		return err
	}
	name := p.cfg.GetHostname()
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(p.dir, hostnameFile), []byte(name+"\n"), 0o644)
}

// resolvConf is the pod's; without a DNS configuration it is the node's.
func resolvConf(dns *rt.DNSConfig) ([]byte, error) {
	if len(dns.GetServers())+len(dns.GetSearches())+len(dns.GetOptions()) == 0 {
		raw, err := os.ReadFile("/etc/resolv.conf")
		if os.IsNotExist(err) {
			return nil, nil
		}
		return raw, err
	}
	var b strings.Builder
	for _, server := range dns.GetServers() {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.GetSearches()) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.GetSearches(), " "))
	}
	if len(dns.GetOptions()) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.GetOptions(), " "))
	}
	return []byte(b.String()), nil
}

// once says something about a pod the first time only.
func (s *Server) once(p *pod, topic string, e Event) {
	key := p.cfg.GetMetadata().GetUid() + " " + topic
	if _, said := s.told.LoadOrStore(key, true); said {
		return
	}
	s.say(p, e)
}

func (s *Server) say(p *pod, e Event) {
	m := p.cfg.GetMetadata()
	e.Namespace, e.Name, e.UID = m.GetNamespace(), m.GetName(), m.GetUid()
	s.cfg.Events(e)
}

// forget drops what was said about a pod that has no sandbox left.
func (s *Server) forget(p *pod) {
	uid := p.cfg.GetMetadata().GetUid()
	s.mu.Lock()
	for _, other := range s.pods {
		if other.cfg.GetMetadata().GetUid() == uid {
			s.mu.Unlock()
			return
		}
	}
	s.mu.Unlock()
	s.told.Range(func(key, _ any) bool {
		if strings.HasPrefix(key.(string), uid+" ") {
			s.told.Delete(key)
		}
		return true
	})
}

func (s *Server) sayReadOnlyTrees(p *pod) {
	for tree, why := range s.image.ReadOnlyTrees() {
		s.once(p, "ReadOnlyTree "+tree, Event{Warning: true, Reason: "ReadOnlyTree", Message: fmt.Sprintf("%s cannot be written to in this pod's containers: the kernel refuses an overlay on it (%v)", tree, why)})
	}
	if err := s.image.OwnFolders(false); err != nil {
		s.once(p, "ReadOnlyFolders", Event{Warning: true, Reason: "ReadOnlyFolders", Message: fmt.Sprintf("nothing can be written to /usr, /etc and the like in this pod's containers (%v): make room in the data directory, then `studio stop` and `studio up`", err)})
	}
}

// warnAboutContainer says what of a container is not honoured.
func (s *Server) warnAboutContainer(c *container) {
	name := c.cfg.GetMetadata().GetName()
	if s.groups == nil && c.cfg.GetLinux().GetResources().GetCpuQuota() > 0 {
		s.once(c.pod, "LimitsNotEnforced", Event{Warning: true, Reason: "LimitsNotEnforced", Message: fmt.Sprintf("the CPU limit of container %s counts for scheduling but is not enforced, for this node has no control groups: the container steps back for the desktop instead. Memory and processes are limited. `studio doctor` says how to get control groups", name)})
	}
	s.warnAboutSecurity(c)
}
