// Package train tests the training pillar against a real API server, with
// Kubernetes' own controllers and scheduler. There is no node: the tests write
// the status of pods as a kubelet would.
package train

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/mlstudio/studio/platform"
	"github.com/mlstudio/studio/platform/pillar"
	"github.com/mlstudio/studio/test/apiserver"
	"github.com/mlstudio/studio/train/controller"
)

// restConfig of the control plane that all tests share.
var restConfig *rest.Config

func TestMain(m *testing.M) {
	apiserver.Main(m, func(ctx context.Context, cfg *rest.Config) error {
		restConfig = cfg
		return startPlatform(ctx, cfg)
	})
}

// startPlatform returns when the controllers are ready.
func startPlatform(ctx context.Context, cfg *rest.Config) error {
	ready := make(waiter, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- platform.Run(ctx, platform.Config{
			REST: cfg, Pillars: []pillar.Pillar{controller.Pillar{}}, Notify: ready,
			Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
	}()
	select {
	case err := <-ready:
		return err
	case err := <-ended:
		return fmt.Errorf("the platform ended: %w", err)
	}
}

// waiter receives the end of the last phase, or the failure of any.
type waiter chan error

// Phase implements platform.Notifier.
func (w waiter) Phase(name string) func(error) {
	return func(err error) {
		if err != nil || name == platform.PhaseControllers {
			select {
			case w <- err:
			default:
			}
		}
	}
}
