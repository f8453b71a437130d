package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/mlstudio/studio/localcluster/controlplane"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/logfile"
	"github.com/mlstudio/studio/localcluster/notify"
	"github.com/mlstudio/studio/version"
)

// part is what every sub-command begins with.
type part struct {
	dir     string
	verbose bool
}

func newCommand() *cobra.Command {
	p := new(part)
	root := &cobra.Command{
		Use:           "studiod",
		Short:         "The engine of Studio; `studio up` starts it",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&p.dir, "data-dir", "", "data directory (default: $"+datadir.Env+", else studio below the XDG data folder)")
	root.PersistentFlags().BoolVar(&p.verbose, "verbose", false, "log more")
	root.AddCommand(p.serve(), p.controlPlane(), p.holder(), p.node(), p.bareAPIServer(), versionCommand())
	return root
}

// open prepares the data directory and sends all logs of this process, ours
// and klog's, to the part's own file.
func (p *part) open(name string) (datadir.Dir, *slog.Logger, io.Closer, error) {
	d, err := datadir.Resolve(p.dir)
	if err != nil {
		return "", nil, nil, err
	}
	if err := d.Init(); err != nil {
		return "", nil, nil, err
	}
	level := slog.LevelInfo
	if p.verbose {
		level = slog.LevelDebug
	}
	log, w := logfile.Open(d.Log(name), level)
	if err := klogTo(w); err != nil {
		return "", nil, nil, err
	}
	return d, log, w, nil
}

// klogTo sends upstream's logs to w, each line once whatever its severity.
func klogTo(w io.Writer) error {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "one_output": "true", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			return err
		}
	}
	klog.SetOutput(w)
	return nil
}

func (p *part) controlPlane() *cobra.Command {
	return &cobra.Command{
		Use:   "control-plane",
		Short: "Run the store, kube-apiserver, kube-controller-manager and kube-scheduler",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.runControlPlane(cmd, "control-plane", controlplane.Config{})
		},
	}
}

func (p *part) bareAPIServer() *cobra.Command {
	var synchronous string
	cmd := &cobra.Command{
		Use:    "bare-apiserver",
		Short:  "Run the store and kube-apiserver alone: what benchmarks compare with",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.runControlPlane(cmd, "bare-apiserver", controlplane.Config{Bare: true, Synchronous: synchronous})
		},
	}
	cmd.Flags().StringVar(&synchronous, "synchronous", "FULL", "SQLite's synchronous setting: FULL or NORMAL")
	return cmd
}

func (p *part) runControlPlane(cmd *cobra.Command, name string, c controlplane.Config) error {
	notifier := notify.FromEnv()
	d, log, w, err := p.open(name)
	if err != nil {
		return err
	}
	defer w.Close()
	c.Dir, c.Log, c.Notify = d, log, notifier
	return controlplane.Run(cmd.Context(), c)
}

// versionCommand stands in for a --version flag: upstream claims that name in
// the process's flags.
func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of Studio and of the Kubernetes in it",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "studiod %s (Kubernetes %s)\n", version.Version, version.Kubernetes)
		},
	}
}
