package localpath

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func claim(change func(*corev1.PersistentVolumeClaim)) controller.ProvisionOptions {
	policy := corev1.PersistentVolumeReclaimDelete
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if change != nil {
		change(c)
	}
	return controller.ProvisionOptions{PVName: "pvc-1", PVC: c, StorageClass: &storagev1.StorageClass{ReclaimPolicy: &policy}}
}

func TestProvisionAndDelete(t *testing.T) {
	p := provisioner{root: t.TempDir()}
	v, state, err := p.Provision(t.Context(), claim(nil))
	if err != nil || state != controller.ProvisioningFinished {
		t.Fatal(state, err)
	}
	if want := filepath.Join(p.root, "team_data_pvc-1"); v.Spec.Local.Path != want {
		t.Errorf("path %s, want %s", v.Spec.Local.Path, want)
	}
	st, err := os.Stat(v.Spec.Local.Path)
	if err != nil || st.Mode().Perm() != 0o777 {
		t.Fatalf("folder %v, %v; want one that every user of a pod can write", st, err)
	}
	if got := v.Spec.Capacity.Storage().String(); got != "1Gi" {
		t.Errorf("capacity %s", got)
	}
	if err := os.WriteFile(filepath.Join(v.Spec.Local.Path, "f"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := p.Delete(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(v.Spec.Local.Path); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestDeleteLeavesForeignFoldersAlone(t *testing.T) {
	outside := t.TempDir()
	p := provisioner{root: t.TempDir()}
	for _, path := range []string{outside, p.root, filepath.Join(p.root, "..", filepath.Base(outside)), filepath.Join(p.root, "other")} {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}}
		v.Spec.Local = &corev1.LocalVolumeSource{Path: path}
		if err := p.Delete(t.Context(), v); err == nil {
			t.Errorf("%s was removed", path)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeHadSaysWhy(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	for word, change := range map[string]func(*corev1.PersistentVolumeClaim){
		"volumeMode": func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block },
		"selector":   func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} },
	} {
		if _, _, err := (provisioner{root: t.TempDir()}).Provision(t.Context(), claim(change)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v, want an error about the %s", err, word)
		}
	}
}
