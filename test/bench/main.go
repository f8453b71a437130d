// Command bench measures Studio beside a peer in the same run and prints one
// JSON object a line for each figure. `make bench-NAME` runs it; rows of a run
// as a plain user end in ".rootless".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/mlstudio/studio/test/bench/netend"
)

// benches are what can be measured, by name.
var benches = map[string]func(context.Context, *bench) error{
	"up": benchUp, "pod": benchPod, "idle": benchIdle, "kine": benchKine, "sync": benchSync, "run": benchRun, "net": benchNet, "pod-kind": benchPodKind,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == saverArg {
		return serveSaver(os.Stdin, os.Stdout)
	}
	if len(args) > 0 && args[0] == "end" { // of a network measurement, started by bench net
		return netend.Run(ctx, args[1:], os.Stdout)
	}
	names := strings.Join(slices.Sorted(maps.Keys(benches)), ", ")
	b := &bench{out: os.Stdout}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.bin, "bin", "bin", "folder of the programs to measure")
	flags.Float64Var(&b.slack, "slack", 1, "how many times a limit may be exceeded before the bench fails; for machines that others use too")
	flags.StringVar(&b.kind.kubeconfig, "kind-kubeconfig", "", "kubeconfig of a kind cluster to measure against")
	flags.StringVar(&b.kind.image, "kind-image", "", "image that the pods run on both")
	flags.StringVar(&b.kind.archive, "kind-archive", "", "archive of that image, to import")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "bench [flags] NAME, one of: %s\n", names)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	measure, ok := benches[flags.Arg(0)]
	if !ok || flags.NArg() != 1 {
		return fmt.Errorf("name one bench of: %s", names)
	}
	if os.Geteuid() != 0 {
		b.suffix = ".rootless"
	}
	if err := measure(ctx, b); err != nil {
		return fmt.Errorf("measuring %s: %w", flags.Arg(0), err)
	}
	if len(b.exceeded) > 0 {
		return errors.New(strings.Join(b.exceeded, "; "))
	}
	return nil
}
