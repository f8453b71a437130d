package engine

import (
	"context"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster/awake"
)

// keepAwake keeps the machine awake while jobs run. That it cannot is no reason
// to end.
func (e *engine) keepAwake(ctx context.Context) error {
	if e.hub.wait(ctx, phaseAPI) != nil {
		return nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", e.dir.Kubeconfig())
	if err != nil {
		return err
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	if err := awake.Run(ctx, e.dir, cs, e.log); err != nil {
		e.log.Warn("this machine may go to sleep while jobs run", "error", err)
	}
	return nil
}
