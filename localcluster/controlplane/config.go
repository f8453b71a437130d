// Package controlplane runs upstream's kube-apiserver, kube-controller-manager
// and kube-scheduler in this process, on kine and SQLite instead of etcd. It
// calls upstream's Run functions, never their commands: those take signals and
// flags for themselves.
package controlplane

import (
	"log/slog"
	"path/filepath"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/notify"
)

// Config is what Run needs.
type Config struct {
	Dir    datadir.Dir
	Notify *notify.Notifier
	Log    *slog.Logger
	// Bare runs the API server and its store alone: no controllers, no
	// scheduler, no way to a node. Benchmarks measure against it.
	Bare bool
	// Synchronous is SQLite's: FULL unless a benchmark asks for NORMAL.
	Synchronous string
}

// files are the places of the control plane's own files.
type files struct {
	dir datadir.Dir
	net network.Network
	// port of the API server on 127.0.0.1.
	port int
}

func (f files) pki(name string) string { return filepath.Join(f.dir.PKI(), name) }
func (f files) egress() string         { return filepath.Join(f.dir.Run(), "egress.yaml") }

// controllerKubeconfig is for the controller manager and the scheduler.
func (f files) controllerKubeconfig() string {
	return filepath.Join(f.dir.PKI(), "controllers.kubeconfig")
}
