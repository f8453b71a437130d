package backend

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

func service(ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec:       corev1.ServiceSpec{Ports: ports, Selector: map[string]string{"app": "web"}},
	}
}

func slice(port discoveryv1.EndpointPort, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{port}, Endpoints: endpoints}
}

func endpoint(ready *bool, address string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
}

func TestServiceAddresses(t *testing.T) {
	http := corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}
	dns := corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}
	toHTTP := discoveryv1.EndpointPort{Name: ptr("http"), Port: ptr(int32(8080))}
	ready := []*discoveryv1.EndpointSlice{
		slice(toHTTP, endpoint(ptr(true), "10.0.0.2"), endpoint(ptr(false), "10.0.0.3"), endpoint(nil, "10.0.0.4")),
		slice(discoveryv1.EndpointPort{Name: ptr("other"), Port: ptr(int32(9))}, endpoint(nil, "10.0.0.5")),
		{AddressType: discoveryv1.AddressTypeIPv6, Ports: []discoveryv1.EndpointPort{toHTTP}, Endpoints: []discoveryv1.Endpoint{endpoint(nil, "fd00::1")}},
		slice(toHTTP, endpoint(nil, "10.0.0.2")),
	}
	outside := service()
	outside.Spec.Type, outside.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	for name, c := range map[string]struct {
		svc    *corev1.Service
		port   string
		slices []*discoveryv1.EndpointSlice
		want   []string
		err    string
		none   bool
	}{
		"by number":          {service(http, dns), "80", ready, []string{"10.0.0.2:8080", "10.0.0.4:8080"}, "", false},
		"by name":            {service(http, dns), "http", ready, []string{"10.0.0.2:8080", "10.0.0.4:8080"}, "", false},
		"nobody is ready":    {service(http), "80", ready[1:3], nil, "labels app=web", true},
		"it is gone":         {nil, "80", nil, nil, "no service ns/web", true},
		"no such port":       {service(http, dns), "81", ready, nil, "it has 80 (http)", false},
		"UDP":                {service(http, dns), "dns", ready, nil, "only TCP", false},
		"an outside host":    {outside, "80", nil, nil, "example.com", false},
		"an unnamed service": {service(corev1.ServicePort{Port: 80}), "", nil, nil, "no port", false},
	} {
		got, err := serviceAddresses(Target{Kind: Service, Namespace: "ns", Name: "web", Port: c.port}, c.svc, c.slices)
		if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || errors.Is(err, ErrNone) != c.none {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestPodAddresses(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8888}}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.9"},
	}
	for port, want := range map[string]string{"http": "10.0.0.9:8888", "22": "10.0.0.9:22", "nix": "", "0": "", "70000": ""} {
		got, err := podAddresses(Target{Kind: Pod, Namespace: "ns", Name: "p", Port: port}, pod)
		if (err == nil) != (want != "") || err == nil && got[0] != want {
			t.Errorf("port %s: %v, %v", port, got, err)
		}
	}
	pod.Status.Phase = corev1.PodPending
	for _, p := range []*corev1.Pod{pod, nil} {
		if _, err := podAddresses(Target{Kind: Pod, Namespace: "ns", Name: "p", Port: "http"}, p); !errors.Is(err, ErrNone) {
			t.Errorf("%v", err)
		}
	}
}
