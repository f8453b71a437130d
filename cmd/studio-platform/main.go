// Command studio-platform runs the controllers of all pillars: as a child of the
// engine on this machine, or as a Deployment in a cluster.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mlstudio/studio/localcluster/logfile"
	"github.com/mlstudio/studio/localcluster/notify"
	"github.com/mlstudio/studio/platform"
	"github.com/mlstudio/studio/platform/pillar"
	traincontroller "github.com/mlstudio/studio/train/controller"
	"github.com/mlstudio/studio/version"
)

// pillars is the one list of what the platform hosts.
func pillars() []pillar.Pillar {
	return []pillar.Pillar{traincontroller.Pillar{}}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "studio-platform:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	notifier := notify.FromEnv()
	var kubeconfig, level, logFile string
	var showVersion bool
	c := platform.Config{Pillars: pillars(), Notify: notifier}
	flags := flag.NewFlagSet("studio-platform", flag.ContinueOnError)
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; without one, the cluster that this runs in")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&logFile, "log-file", "", "file for the log, rotated; without one, standard error")
	flags.StringVar(&c.MetricsAddr, "metrics", "", "host:port for metrics; none without it")
	flags.StringVar(&c.HealthAddr, "health", "", "host:port for health checks; none without it")
	flags.BoolVar(&c.LeaderElection, "leader-elect", false, "wait until no other platform controls the cluster")
	flags.BoolVar(&showVersion, "version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if showVersion {
		fmt.Fprintln(out, version.Version)
		return nil
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
	if logFile != "" {
		log, w := logfile.Open(logFile, l)
		defer w.Close()
		c.Log = log
	}
	var err error
	if c.REST, err = restConfig(kubeconfig); err != nil {
		return err
	}
	// The heap is a few MB of caches: collecting twice as often halves what lies
	// around and costs nothing between events.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	return platform.Run(ctx, c)
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("reading kubeconfig %s: %w", kubeconfig, err)
		}
		return c, nil
	}
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w; outside of one, name it with --kubeconfig", err)
	}
	return c, nil
}
