// Package pillar is the seam between the platform and what it hosts: training,
// notebooks, pipelines and so on. A pillar brings its kinds, what must lie in the
// cluster for them, and their controllers; the platform installs and runs them.
package pillar

import (
	"context"
	"io/fs"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Pillar is one workload of the platform.
type Pillar interface {
	// Name is short and lower case.
	Name() string
	// AddToScheme registers the kinds that its controllers use.
	AddToScheme(*runtime.Scheme) error
	// CRDs lists its files in assets.CRDs.
	CRDs() []string
	// Objects holds YAML files of what else it needs in the cluster. They may
	// need its CRDs.
	Objects() fs.FS
	// Cached lists the kinds that its controllers watch, and how much of them:
	// what is not here is read from the API server each time.
	Cached() map[client.Object]cache.ByObject
	// Setup adds its controllers.
	Setup(ctx context.Context, h Host) error
}

// Host is what the platform gives to a pillar.
type Host struct {
	Manager ctrl.Manager
	// Events writes core Events, the form that all clients read.
	Events record.EventRecorder
}
