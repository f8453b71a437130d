// Package localpath provisions persistent volumes as folders of this machine:
// the default StorageClass of the embedded node. The claim and volume machinery
// is the sig-storage library that other provisioners use.
//
// Volumes bind at once, not at the first pod: there is one node, and a claim
// that shows Bound is what people look for.
package localpath

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/network"
)

const (
	// Name of the provisioner; a StorageClass names it.
	Name = "studio.mlstudio.dev/local-path"
	// Class is the StorageClass made at the first start.
	Class = "local-path"
	// defaultAnnotation marks the class that claims without one get.
	defaultAnnotation = "storageclass.kubernetes.io/is-default-class"
)

// Run serves claims until ctx ends.
func Run(ctx context.Context, cs kubernetes.Interface, d datadir.Dir) error {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 30*time.Second)
	controller.NewProvisionController(ctx, cs, Name, provisioner{root: d.Volumes()},
		controller.LeaderElection(false),
		controller.MetricsPort(0),
		// Everything comes by watch; listing it again would only cost.
		controller.ResyncPeriod(24*time.Hour),
		controller.RateLimiter(limiter),
	).Run(ctx)
	return ctx.Err()
}

// EnsureClass makes the class once. What a user changed in it stays, and it is
// not the default where another one is.
func EnsureClass(ctx context.Context, cs kubernetes.Interface) error {
	classes, err := cs.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("making the storage class %s: %w", Class, err)
	}
	isDefault := "true"
	for _, c := range classes.Items {
		if c.Name == Class {
			return nil
		}
		if c.Annotations[defaultAnnotation] == "true" {
			isDefault = "false"
		}
	}
	policy, mode := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	_, err = cs.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: Class, Annotations: map[string]string{defaultAnnotation: isDefault}},
		Provisioner:       Name,
		ReclaimPolicy:     &policy,
		VolumeBindingMode: &mode,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making the storage class %s: %w", Class, err)
	}
	return nil
}

// provisioner makes and removes the folders below root.
type provisioner struct{ root string }

var _ controller.Provisioner = provisioner{}

// Provision makes the folder NAMESPACE_CLAIM_VOLUME, so that people find it.
func (p provisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if mode := o.PVC.Spec.VolumeMode; mode != nil && *mode == corev1.PersistentVolumeBlock {
		return nil, controller.ProvisioningFinished, errors.New("block volumes are not to be had here, only file systems: set volumeMode to Filesystem")
	}
	if o.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("a claim with a selector asks for a volume that exists; create that volume, or remove the selector")
	}
	path := filepath.Join(p.root, strings.Join([]string{o.PVC.Namespace, o.PVC.Name, o.PVName}, "_"))
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("making the volume's folder: %w", err)
	}
	// Containers that run as other users write here; the folder above is closed
	// to everybody else. MkdirAll obeys the umask, Chmod does not.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("opening the volume's folder to its pods: %w", err)
	}
	hostname := corev1.NodeSelectorRequirement{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{network.NodeName}}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			// The size is what was asked for; a folder has no limit of its own.
			Capacity:   corev1.ResourceList{corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			VolumeMode: o.PVC.Spec.VolumeMode,
			// A local volume, not a hostPath one: the kubelet gives its files to fsGroup.
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{hostname}}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the folder of a volume that this provisioner made.
func (p provisioner) Delete(_ context.Context, v *corev1.PersistentVolume) error {
	if v.Spec.Local == nil {
		return fmt.Errorf("volume %s is no local volume", v.Name)
	}
	path := filepath.Clean(v.Spec.Local.Path)
	if filepath.Dir(path) != p.root || !strings.HasSuffix(path, "_"+v.Name) {
		return fmt.Errorf("volume %s: %s is not a folder that was made for it; it is left alone", v.Name, path)
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("removing the folder of volume %s: %w", v.Name, err)
	}
	return nil
}
