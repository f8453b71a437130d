package expose

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/mlstudio/studio/localcluster/backend"
	"github.com/mlstudio/studio/localcluster/engine/client"
)

// kinds are the words for each kind before a name.
var kinds = map[string]string{
	"svc": backend.Service, "service": backend.Service, "services": backend.Service,
	"po": backend.Pod, "pod": backend.Pod, "pods": backend.Pod,
}

// parse takes [KIND/]NAME[:PORT] apart.
func parse(ref string) (kind, name, port string, err error) {
	rest, port, _ := strings.Cut(ref, ":")
	word, name, has := strings.Cut(rest, "/")
	if !has {
		word, name = "", rest
	} else if kind = kinds[strings.ToLower(word)]; kind == "" {
		return "", "", "", &client.Refusal{Cause: fmt.Sprintf("%q is neither a service nor a pod", ref), Cure: "write svc/NAME or pod/NAME"}
	}
	if name == "" || strings.Contains(name, "/") {
		return "", "", "", &client.Refusal{Cause: fmt.Sprintf("%q names no service or pod", ref), Cure: "write NAME, svc/NAME or pod/NAME, with :PORT where it has several"}
	}
	return kind, name, port, nil
}

// named tells whether a reference means this exposure.
func (x *exposure) named(namespace, ref string) bool {
	if n, err := strconv.Atoi(ref); err == nil {
		return n == x.LocalPort
	}
	kind, name, port, err := parse(ref)
	return err == nil && name == x.Name && namespace == x.Namespace && (kind == "" || kind == x.Kind) && (port == "" || port == x.Port)
}

// resolve finds what a request means: the target, with a port that exists, and
// that port's number.
func resolve(ctx context.Context, cs kubernetes.Interface, r client.ExposeRequest) (backend.Target, int, error) {
	kind, name, port, err := parse(r.Ref)
	if err != nil {
		return backend.Target{}, 0, err
	}
	t := backend.Target{Kind: kind, Namespace: r.Namespace, Name: name, Port: port}
	if kind != backend.Pod {
		svc, err := cs.CoreV1().Services(r.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			return ofService(t, svc)
		}
		if !apierrors.IsNotFound(err) {
			return t, 0, fmt.Errorf("looking for service %s/%s: %w", r.Namespace, name, err)
		}
	}
	if kind != backend.Service {
		pod, err := cs.CoreV1().Pods(r.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			return ofPod(t, pod)
		}
		if !apierrors.IsNotFound(err) {
			return t, 0, fmt.Errorf("looking for pod %s/%s: %w", r.Namespace, name, err)
		}
	}
	what := map[string]string{"": "service or pod", backend.Service: "service", backend.Pod: "pod"}[kind]
	return t, 0, &client.Refusal{
		Cause: fmt.Sprintf("there is no %s %q in namespace %s", what, name, r.Namespace),
		Cure:  "`kubectl get services,pods -A` lists all; -n chooses the namespace",
	}
}

func ofService(t backend.Target, svc *corev1.Service) (backend.Target, int, error) {
	t.Kind = backend.Service
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return t, 0, &client.Refusal{
			Cause: fmt.Sprintf("service %s/%s only names the outside host %s", svc.Namespace, svc.Name, svc.Spec.ExternalName),
			Cure:  "connect to " + svc.Spec.ExternalName,
		}
	}
	if t.Port == "" {
		if len(svc.Spec.Ports) != 1 {
			return t, 0, severalPorts("service", svc.Name, portsOf(svc))
		}
		t.Port = strconv.Itoa(int(svc.Spec.Ports[0].Port))
	}
	p, err := backend.ServicePort(svc, t.Port)
	if err != nil {
		return t, 0, &client.Refusal{Cause: err.Error(), Cure: fmt.Sprintf("studio expose svc/%s:PORT", svc.Name)}
	}
	return t, int(p.Port), nil
}

func portsOf(svc *corev1.Service) (ports []string) {
	for _, p := range svc.Spec.Ports {
		ports = append(ports, strconv.Itoa(int(p.Port)))
	}
	return ports
}

func ofPod(t backend.Target, pod *corev1.Pod) (backend.Target, int, error) {
	t.Kind = backend.Pod
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return t, 0, &client.Refusal{Cause: fmt.Sprintf("pod %s/%s has ended", pod.Namespace, pod.Name), Cure: "expose a service: it finds the pods that run"}
	}
	if t.Port == "" {
		var ports []string
		for _, c := range pod.Spec.Containers {
			for _, p := range c.Ports {
				ports = append(ports, strconv.Itoa(int(p.ContainerPort)))
			}
		}
		if len(ports) != 1 {
			return t, 0, severalPorts("pod", pod.Name, ports)
		}
		t.Port = ports[0]
	}
	n, err := backend.PodPort(pod, t.Port)
	if err != nil {
		return t, 0, &client.Refusal{Cause: err.Error(), Cure: fmt.Sprintf("studio expose pod/%s:PORT", pod.Name)}
	}
	return t, int(n), nil
}

func severalPorts(kind, name string, ports []string) error {
	short := map[string]string{"service": "svc", "pod": "pod"}[kind]
	if len(ports) == 0 {
		return &client.Refusal{Cause: fmt.Sprintf("%s %s declares no port", kind, name), Cure: fmt.Sprintf("studio expose %s/%s:PORT", short, name)}
	}
	return &client.Refusal{
		Cause: fmt.Sprintf("%s %s has several ports: %s", kind, name, strings.Join(ports, ", ")),
		Cure:  fmt.Sprintf("studio expose %s/%s:%s", short, name, ports[0]),
	}
}
