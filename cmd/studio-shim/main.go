// Command studio-shim holds the processes of one pod. The engine starts it;
// it is of no use by hand. It stays small: a machine runs one for each pod.
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/mlstudio/studio/localcluster/hostrt/sandbox"
	"github.com/mlstudio/studio/localcluster/hostrt/shim"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
	"github.com/mlstudio/studio/version"
)

// libcontainer lets a thread enter the container's mount namespace for good.
// It must never be the first thread: that one cannot end, and it is what the
// process's own namespaces are read from.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "studio-shim is started by studiod for each pod; run `studio up` instead")
		os.Exit(2)
	}
	switch os.Args[1] {
	case sandbox.InitArg:
		sandbox.Init()
	case shim.PauseArg:
		shim.Pause()
	case "--version":
		fmt.Println(version.Version)
		return
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var cfg shimapi.Config
	err := json.Unmarshal([]byte(os.Args[1]), &cfg)
	if err == nil {
		err = shim.Run(cfg, log)
	}
	log.Error("the pod's shim ends", "error", err)
	os.Exit(1)
}
