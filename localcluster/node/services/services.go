// Package services makes the Services that every cluster has and keeps them
// right: `kubernetes`, whose endpoints upstream's API server cannot know here,
// since it listens on the host and is reached through the node, `kube-dns` and
// `metrics-server`.
package services

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	apply "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryapply "k8s.io/client-go/applyconfigurations/discovery/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/node/metrics"
)

const (
	// manager names us as the owner of fields and of the slices.
	manager = "studiod"
	// The Services; clients and tests look for these names.
	apiName = "kubernetes"
	dnsName = "kube-dns"
)

var options = metav1.ApplyOptions{FieldManager: manager, Force: true}

// Ensure makes the objects, or puts them right again. The Service `kubernetes`
// itself is the API server's own.
func Ensure(ctx context.Context, cs kubernetes.Interface, n network.Network) error {
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem} {
		// The API server makes them, too, but in its own time.
		_, err := cs.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making the namespace %s: %w", name, err)
		}
	}
	for _, step := range []func(context.Context, kubernetes.Interface, network.Network) error{ensureAPI, ensureDNS, ensureMetrics} {
		if err := step(ctx, cs, n); err != nil {
			return err
		}
	}
	return nil
}

func ensureAPI(ctx context.Context, cs kubernetes.Interface, n network.Network) error {
	address := n.APIAddress.String()
	if err := ensureSlice(ctx, cs, metav1.NamespaceDefault, apiName, address, slicePort("https", corev1.ProtocolTCP, network.APIPort)); err != nil {
		return err
	}
	// The older form, which some clients still read. It is not mirrored: the slice is there.
	endpoints := apply.Endpoints(apiName, metav1.NamespaceDefault).
		WithLabels(map[string]string{discoveryv1.LabelSkipMirror: "true"}).
		WithSubsets(apply.EndpointSubset().
			WithAddresses(apply.EndpointAddress().WithIP(address)).
			WithPorts(apply.EndpointPort().WithName("https").WithPort(network.APIPort).WithProtocol(corev1.ProtocolTCP)))
	if _, err := cs.CoreV1().Endpoints(metav1.NamespaceDefault).Apply(ctx, endpoints, options); err != nil {
		return fmt.Errorf("making the endpoints of the Service %s: %w", apiName, err)
	}
	return nil
}

func ensureDNS(ctx context.Context, cs kubernetes.Interface, n network.Network) error {
	port := int32(network.DNSServer.Port())
	service := apply.Service(dnsName, metav1.NamespaceSystem).
		WithLabels(map[string]string{"k8s-app": dnsName, "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"}).
		WithSpec(apply.ServiceSpec().WithClusterIP(n.DNS().String()).WithPorts(
			servicePort("dns", corev1.ProtocolUDP, port), servicePort("dns-tcp", corev1.ProtocolTCP, port)))
	if _, err := cs.CoreV1().Services(metav1.NamespaceSystem).Apply(ctx, service, options); err != nil {
		return fmt.Errorf("making the Service %s at %s: %w", dnsName, n.DNS(), err)
	}
	return ensureSlice(ctx, cs, metav1.NamespaceSystem, dnsName, network.DNSServer.Addr().String(),
		slicePort("dns", corev1.ProtocolUDP, port), slicePort("dns-tcp", corev1.ProtocolTCP, port))
}

func ensureMetrics(ctx context.Context, cs kubernetes.Interface, n network.Network) error {
	service := apply.Service(metrics.Service, metav1.NamespaceSystem).
		WithLabels(map[string]string{"k8s-app": metrics.Service, "kubernetes.io/cluster-service": "true"}).
		WithSpec(apply.ServiceSpec().WithPorts(apply.ServicePort().WithName("https").WithProtocol(corev1.ProtocolTCP).
			WithPort(443).WithTargetPort(intstr.FromInt32(network.MetricsPort))))
	if _, err := cs.CoreV1().Services(metav1.NamespaceSystem).Apply(ctx, service, options); err != nil {
		return fmt.Errorf("making the Service %s: %w", metrics.Service, err)
	}
	return ensureSlice(ctx, cs, metav1.NamespaceSystem, metrics.Service, n.Gateway().String(), slicePort("https", corev1.ProtocolTCP, network.MetricsPort))
}

// ensureSlice makes the one EndpointSlice of a Service without a selector.
func ensureSlice(ctx context.Context, cs kubernetes.Interface, namespace, service, address string, ports ...*discoveryapply.EndpointPortApplyConfiguration) error {
	slice := discoveryapply.EndpointSlice(service, namespace).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: manager}).
		WithAddressType(discoveryv1.AddressTypeIPv4).
		WithEndpoints(discoveryapply.Endpoint().WithAddresses(address).WithConditions(discoveryapply.EndpointConditions().WithReady(true))).
		WithPorts(ports...)
	if _, err := cs.DiscoveryV1().EndpointSlices(namespace).Apply(ctx, slice, options); err != nil {
		return fmt.Errorf("making the endpoints of the Service %s: %w", service, err)
	}
	return nil
}

func servicePort(name string, protocol corev1.Protocol, target int32) *apply.ServicePortApplyConfiguration {
	return apply.ServicePort().WithName(name).WithProtocol(protocol).WithPort(53).WithTargetPort(intstr.FromInt32(target))
}

func slicePort(name string, protocol corev1.Protocol, port int32) *discoveryapply.EndpointPortApplyConfiguration {
	return discoveryapply.EndpointPort().WithName(name).WithProtocol(protocol).WithPort(port)
}
