package controlplane

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/tools/cache"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controllermanageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// runControllerManager returns when ctx ends.
func runControllerManager(ctx context.Context, f files) error {
	s, err := controllermanageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("setting up the controller manager: %w", err)
	}
	known, disabled, aliases := controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases()
	sets := s.Flags(known, disabled, aliases)
	s.ParsedFlags = &sets
	err = parse(sets, []string{
		"--kubeconfig=" + f.controllerKubeconfig(),
		"--secure-port=0",
		"--leader-elect=false",
		"--use-service-account-credentials=false",
		"--service-account-private-key-file=" + f.pki("service-account.key"),
		"--root-ca-file=" + f.pki("ca.crt"),
		"--cluster-signing-cert-file=" + f.pki("ca.crt"),
		"--cluster-signing-key-file=" + f.pki("ca.key"),
		// One node: there are no ranges to hand out.
		"--controllers=*,-node-ipam-controller",
		"--allocate-node-cidrs=false",
		// A laptop that slept is not a node that died.
		"--node-monitor-grace-period=300s",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--profiling=false",
	})
	if err != nil {
		return fmt.Errorf("setting up the controller manager: %w", err)
	}
	c, err := s.Config(ctx, known, disabled, aliases)
	if err != nil {
		return fmt.Errorf("setting up the controller manager: %w", err)
	}
	// Upstream's own wait asks once a second and gives up after ten, which a busy
	// machine's first start can take.
	if err := waitReady(ctx, f.controllerKubeconfig(), "/healthz"); err != nil {
		return ended(ctx, "controller manager", err)
	}
	return ended(ctx, "controller manager", controllermanager.Run(ctx, c.Complete()))
}

// runScheduler returns when ctx ends.
func runScheduler(ctx context.Context, f files) error {
	opts := scheduleroptions.NewOptions()
	err := parse(*opts.Flags, []string{
		"--kubeconfig=" + f.controllerKubeconfig(),
		"--secure-port=0",
		"--leader-elect=false",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--profiling=false",
	})
	if err != nil {
		return fmt.Errorf("setting up the scheduler: %w", err)
	}
	if opts.InformerName, err = cache.NewInformerName("kube-scheduler"); err != nil {
		return fmt.Errorf("setting up the scheduler: %w", err)
	}
	config, sched, err := scheduler.Setup(ctx, opts)
	if err != nil {
		return fmt.Errorf("setting up the scheduler: %w", err)
	}
	return ended(ctx, "scheduler", scheduler.Run(ctx, config, sched))
}

// ended turns the end of a component that was not asked to end into an error.
func ended(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("ended by itself")
	}
	return fmt.Errorf("running the %s: %w", what, err)
}
