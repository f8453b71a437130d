package hostrt

import (
	"net/netip"
	"strings"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/podnet"
)

// hostPorts are the ports of the node that a pod asks for. In the node's
// network the pod opens them itself.
func hostPorts(p *pod) []podnet.Mapping {
	if !p.record.IP.IsValid() {
		return nil
	}
	var ports []podnet.Mapping
	for _, m := range p.cfg.GetPortMappings() {
		if m.GetHostPort() <= 0 {
			continue
		}
		// No address, and the one that stands for all, are the same wish.
		at, err := netip.ParseAddr(m.GetHostIp())
		if err != nil || at.IsUnspecified() {
			at = netip.Addr{}
		}
		ports = append(ports, podnet.Mapping{
			Protocol: strings.ToLower(rt.Protocol_name[int32(m.GetProtocol())]), HostIP: at,
			HostPort: uint16(m.GetHostPort()), PodIP: p.record.IP, PodPort: uint16(m.GetContainerPort()),
		})
	}
	return ports
}

func (s *Server) openHostPorts(p *pod) error {
	ports := hostPorts(p)
	if len(ports) == 0 {
		return nil
	}
	return s.ports.Open(s.life, p.id, ports)
}

func (s *Server) closeHostPorts(p *pod) {
	if err := s.ports.Close(s.life, p.id); err != nil {
		s.log.Warn("closing a pod's host ports", "pod", p.id, "error", err)
	}
}

// restoreHostPorts writes the rules for the pods that were adopted, and removes
// those of pods that are gone. Nobody waits for it.
func (s *Server) restoreHostPorts() {
	s.work.Go(func() {
		if err := s.ports.Write(s.life); err != nil {
			s.log.Warn("writing the pods' host ports", "error", err)
		}
	})
}

// noteHostPorts has the ports of an adopted pod written by restoreHostPorts.
func (s *Server) noteHostPorts(p *pod) {
	if ports := hostPorts(p); len(ports) > 0 {
		s.ports.Note(p.id, ports)
	}
}
