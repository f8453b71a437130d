// Command conformance runs upstream's end-to-end tests, the specs marked
// [Conformance], against an embedded cluster of its own, and counts what the
// specs of the baseline do. `make conformance` runs it as root and as a plain
// user; docs/conformance.md says what fails and why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	bin, programs, images string
	focus                 *regexp.Regexp
	full, ci              bool
	procs, attempts       int
	timeout               time.Duration
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", "bin", "folder of Studio's programs")
	flags.StringVar(&o.programs, "programs", "bin/conformance", "folder of e2e.test, ginkgo and kubectl")
	flags.StringVar(&o.images, "images", "", "archive of the images that the pods use")
	flags.BoolVar(&o.ci, "ci", false, "run the part that CI runs")
	focus := flags.String("focus", "", "regular expression that narrows the specs")
	flags.BoolVar(&o.full, "full", false, "run the serial, slow and disruptive specs, and only those")
	flags.IntVar(&o.procs, "procs", 4, "specs that run at once")
	flags.IntVar(&o.attempts, "attempts", 2, "how often a spec that fails may be tried; the baseline had two runs")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Hour, "time for all specs together")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: there are no arguments, only flags", flags.Args())
	}
	if o.images == "" {
		return o, errors.New("-images is needed: the archive that hack/conformance-images builds")
	}
	var err error
	if o.focus, err = regexp.Compile(*focus); err != nil {
		return o, fmt.Errorf("-focus: %w", err)
	}
	if o.ci && (o.full || *focus != "") {
		return o, errors.New("-ci, -full and -focus: one of them")
	}
	if o.full {
		o.procs = 1 // they change the node under each other
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	mode := "root"
	if os.Geteuid() != 0 {
		mode = "rootless"
	}
	chosen, err := choose(o, mode, lists)
	if err != nil {
		return err
	}
	// A short path: sockets lie in it.
	top, err := os.MkdirTemp("", "sc-")
	if err != nil {
		return err
	}
	logs := filepath.Join(top, "logs")
	if err := os.Mkdir(logs, 0o755); err != nil {
		return err
	}
	c := cluster{studio: filepath.Join(o.bin, "studio"), folder: filepath.Join(top, "data")}
	tally, err := onCluster(ctx, c, o, chosen, logs)
	if err != nil || tally.bad() {
		err = errors.Join(err, c.keepLogs(logs))
		fmt.Printf("The logs are in %s.\n", logs)
	} else {
		err = errors.Join(err, os.RemoveAll(logs))
	}
	if err := errors.Join(err, c.remove(ctx)); err != nil {
		return err
	}
	_ = os.Remove(top) // stays where logs were kept
	fmt.Printf("%s: %s\n", mode, tally)
	if tally.bad() {
		return errors.New("specs of the baseline failed")
	}
	return nil
}

// onCluster brings the cluster up, runs the chosen specs and reads what they did.
func onCluster(ctx context.Context, c cluster, o options, chosen selection, logs string) (*tally, error) {
	if err := c.up(ctx); err != nil {
		return &tally{}, err
	}
	if err := c.load(ctx, o.images); err != nil {
		return &tally{}, err
	}
	report, err := runSpecs(ctx, o, chosen, c.kubeconfig(), logs)
	if err != nil {
		return &tally{}, err
	}
	t := count(report, chosen)
	t.explain(os.Stdout)
	return t, nil
}
