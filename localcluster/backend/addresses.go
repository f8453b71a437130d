package backend

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// ErrNone means that the target is in order and nothing answers for it yet.
var ErrNone = errors.New("no endpoints")

// podAddresses finds the target's address in a pod, which may be nil.
func podAddresses(t Target, pod *corev1.Pod) ([]string, error) {
	if pod == nil {
		return nil, fmt.Errorf("%w: there is no pod %s/%s", ErrNone, t.Namespace, t.Name)
	}
	port, err := PodPort(pod, t.Port)
	if err != nil {
		return nil, err
	}
	if pod.Status.PodIP == "" || pod.Status.Phase != corev1.PodRunning {
		return nil, fmt.Errorf("%w: pod %s/%s is %s", ErrNone, t.Namespace, t.Name, pod.Status.Phase)
	}
	return []string{net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port)))}, nil
}

// PodPort resolves a port of a pod: a number, or the name that a container gives one.
func PodPort(pod *corev1.Pod, port string) (int32, error) {
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
		return int32(n), nil
	}
	var names []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, p := range c.Ports {
			if p.Name == port && tcp(p.Protocol) {
				return p.ContainerPort, nil
			}
			if p.Name != "" {
				names = append(names, p.Name)
			}
		}
	}
	return 0, fmt.Errorf("pod %s/%s has no port %q%s", pod.Namespace, pod.Name, port, choice(names))
}

// ServicePort resolves a port of a service: its number or its name.
func ServicePort(svc *corev1.Service, port string) (corev1.ServicePort, error) {
	var names []string
	for _, p := range svc.Spec.Ports {
		number := strconv.Itoa(int(p.Port))
		if !tcp(p.Protocol) {
			if port == p.Name || port == number {
				return p, fmt.Errorf("port %s of service %s/%s is %s, and only TCP can be forwarded", port, svc.Namespace, svc.Name, p.Protocol)
			}
			continue
		}
		if port == number || port == p.Name && port != "" {
			return p, nil
		}
		if p.Name != "" {
			number += " (" + p.Name + ")"
		}
		names = append(names, number)
	}
	return corev1.ServicePort{}, fmt.Errorf("service %s/%s has no port %q%s", svc.Namespace, svc.Name, port, choice(names))
}

func tcp(p corev1.Protocol) bool { return p == corev1.ProtocolTCP || p == "" }

func choice(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; it has " + strings.Join(names, ", ")
}

// serviceAddresses are the ready endpoints of a service, which may be nil.
func serviceAddresses(t Target, svc *corev1.Service, all []*discoveryv1.EndpointSlice) ([]string, error) {
	if svc == nil {
		return nil, fmt.Errorf("%w: there is no service %s/%s", ErrNone, t.Namespace, t.Name)
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, fmt.Errorf("service %s/%s only names the outside host %s: connect to that", t.Namespace, t.Name, svc.Spec.ExternalName)
	}
	port, err := ServicePort(svc, t.Port)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, s := range all {
		if s.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil || value(p.Name) != port.Name || p.Protocol != nil && !tcp(*p.Protocol) {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					for _, a := range e.Addresses {
						addresses = append(addresses, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
					}
				}
			}
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNone, whyNone(svc))
	}
	slices.Sort(addresses)
	return slices.Compact(addresses), nil
}

func whyNone(svc *corev1.Service) string {
	if len(svc.Spec.Selector) == 0 {
		return fmt.Sprintf("service %s/%s selects no pods, and nobody has given it endpoints", svc.Namespace, svc.Name)
	}
	return fmt.Sprintf("no ready pod of namespace %s has the labels %s that service %s selects", svc.Namespace, labels.Set(svc.Spec.Selector), svc.Name)
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
