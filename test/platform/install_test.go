// Package platform tests the platform's installer against a real API server.
package platform

import (
	"context"
	"io/fs"
	"log/slog"
	"testing"
	"testing/fstest"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mlstudio/studio/assets"
	"github.com/mlstudio/studio/platform/install"
	"github.com/mlstudio/studio/test/apiserver"
	"github.com/mlstudio/studio/train/api/v1alpha1"
	"github.com/mlstudio/studio/train/controller"
)

var restConfig *rest.Config

func TestMain(m *testing.M) {
	apiserver.Main(m, func(_ context.Context, cfg *rest.Config) error {
		restConfig = cfg
		return nil
	})
}

// counting counts what changes the cluster.
type counting struct {
	client.WithWatch
	writes int
}

func (c *counting) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	c.writes++
	return c.WithWatch.Create(ctx, o, opts...)
}

func (c *counting) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	c.writes++
	return c.WithWatch.Apply(ctx, o, opts...)
}

// TestInstall walks the life of one cluster: first start, warm start, deletion,
// a user's own runtime, an upgrade.
func TestInstall(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	real, err := client.NewWithWatch(restConfig, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{WithWatch: real}
	in := &install.Installer{Client: c, Log: slog.New(slog.DiscardHandler)}
	ctx := t.Context()
	crds := controller.Pillar{}.CRDs()
	all := func(objects fs.FS) int {
		t.Helper()
		c.writes = 0
		if err := in.CRDs(ctx, assets.CRDs, crds); err != nil {
			t.Fatal(err)
		}
		if err := in.Objects(ctx, assets.Platform, objects); err != nil {
			t.Fatal(err)
		}
		return c.writes
	}
	if n := all(assets.Train); n < len(crds)+10 {
		t.Errorf("the first start wrote %d objects", n)
	}
	for _, want := range []struct {
		key client.ObjectKey
		obj client.Object
	}{
		{client.ObjectKey{Name: "kubeflow-system"}, &corev1.Namespace{}},
		{client.ObjectKey{Namespace: "kubeflow-system", Name: "kubeflow-trainer-public"}, &corev1.ConfigMap{}},
		{client.ObjectKey{Name: "torch-distributed"}, &v1alpha1.ClusterTrainingRuntime{}},
	} {
		if err := c.Get(ctx, want.key, want.obj); err != nil {
			t.Error(err)
		}
	}
	if n := all(assets.Train); n != 0 {
		t.Errorf("a warm start wrote %d objects, want none", n)
	}

	plain := &v1alpha1.ClusterTrainingRuntime{}
	plain.Name = "plain"
	if err := c.Delete(ctx, plain); err != nil {
		t.Fatal(err)
	}
	if n := all(assets.Train); n != 1 {
		t.Errorf("after a deletion %d objects were written, want 1", n)
	}
	if err := c.Get(ctx, client.ObjectKey{Name: "plain"}, plain); err != nil {
		t.Errorf("the deleted runtime was not restored: %v", err)
	}

	// What a user makes under a shipped name stays.
	if err := c.Delete(ctx, plain); err != nil {
		t.Fatal(err)
	}
	own := &v1alpha1.ClusterTrainingRuntime{}
	own.Name, own.Spec.MLPolicy = "plain", &v1alpha1.MLPolicy{NumNodes: new(int32(7))}
	if err := c.Create(ctx, own); err != nil {
		t.Fatal(err)
	}
	if n := all(assets.Train); n != 0 {
		t.Errorf("%d objects were written although the user's go first", n)
	}
	if err := c.Get(ctx, client.ObjectKey{Name: "plain"}, plain); err != nil || *plain.Spec.MLPolicy.NumNodes != 7 {
		t.Errorf("the user's runtime was overwritten: %+v, %v", plain.Spec, err)
	}

	// An upgrade changes what is shipped, also fields that may not change.
	next := fstest.MapFS{"next.yaml": {Data: []byte(`
apiVersion: trainer.kubeflow.org/v1alpha1
kind: ClusterTrainingRuntime
metadata: {name: torch-distributed}
spec: {mlPolicy: {numNodes: 2}, template: {spec: {failurePolicy: {maxRestarts: 1}, replicatedJobs: [{name: node, template: {}}]}}}
`)}}
	all(next)
	next["next.yaml"].Data = append(next["next.yaml"].Data[:0:0], []byte(`
apiVersion: trainer.kubeflow.org/v1alpha1
kind: ClusterTrainingRuntime
metadata: {name: torch-distributed}
spec: {mlPolicy: {numNodes: 3}, template: {spec: {failurePolicy: {maxRestarts: 2}, replicatedJobs: [{name: node, template: {}}]}}}
`)...)
	all(next)
	torch := &v1alpha1.ClusterTrainingRuntime{}
	if err := c.Get(ctx, client.ObjectKey{Name: "torch-distributed"}, torch); err != nil || *torch.Spec.MLPolicy.NumNodes != 3 || torch.Spec.Template.Spec.FailurePolicy.MaxRestarts != 2 {
		t.Errorf("the upgrade was not installed: %+v, %v", torch.Spec, err)
	}
}

func TestABadObjectIsNamed(t *testing.T) {
	c, err := client.NewWithWatch(restConfig, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	in := &install.Installer{Client: c, Log: slog.New(slog.DiscardHandler)}
	err = in.Objects(t.Context(), fstest.MapFS{"a.yaml": {Data: []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: A_, namespace: default}}")}})
	if !apierrors.IsInvalid(err) || err.Error()[:len("installing ConfigMap A_:")] != "installing ConfigMap A_:" {
		t.Errorf("got %v, want it to name the object", err)
	}
}
