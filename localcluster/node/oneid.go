package node

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mlstudio/studio/localcluster/network"
)

const (
	// oneIDReason marks the Events that say that this account has one id only.
	oneIDReason = "OneUserID"
	oneIDCure   = "install the package uidmap, give this account lines in /etc/subuid and /etc/subgid, then `studio down` and `studio up`"
)

// warnOneID says on the node, and on each pod that needs more, that one user id
// is all there is: the kubelet's own words for it are "lchown: invalid
// argument". It returns when ctx ends.
func warnOneID(ctx context.Context, cs kubernetes.Interface, r recorder) error {
	r.warnNode(oneIDReason, "this account has one user id on this node: pods that run as another user or group fail; "+oneIDCure)
	factory := informers.NewSharedInformerFactoryWithOptions(cs, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", network.NodeName).String()
	}))
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.Status.Phase != corev1.PodPending {
			return
		}
		if asked := otherIDs(&pod.Spec); len(asked) > 0 {
			r.Event(pod, corev1.EventTypeWarning, oneIDReason,
				fmt.Sprintf("the pod sets %s, and this account has one user id on this node; %s, or remove the setting", strings.Join(asked, ", "), oneIDCure))
		}
	}})
	if err != nil {
		return fmt.Errorf("watching pods for other users: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

// otherIDs lists the settings of a pod that name a user or group beside root.
func otherIDs(spec *corev1.PodSpec) []string {
	var asked []string
	add := func(name string, id *int64) {
		if id != nil && *id != 0 {
			asked = append(asked, fmt.Sprintf("%s: %d", name, *id))
		}
	}
	if c := spec.SecurityContext; c != nil {
		add("runAsUser", c.RunAsUser)
		add("runAsGroup", c.RunAsGroup)
		add("fsGroup", c.FSGroup)
		for _, g := range c.SupplementalGroups {
			add("supplementalGroups", &g)
		}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for _, c := range list {
			if c.SecurityContext != nil {
				add("runAsUser of "+c.Name, c.SecurityContext.RunAsUser)
				add("runAsGroup of "+c.Name, c.SecurityContext.RunAsGroup)
			}
		}
	}
	return asked
}
