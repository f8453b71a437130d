// Command studio-shim holds the processes of one pod. The engine starts it;
// it is of no use by hand. It stays small: a machine runs one for each pod.
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/hostrt/sandbox"
	"github.com/mlstudio/studio/localcluster/hostrt/shim"
	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
	"github.com/mlstudio/studio/version"
)

// libcontainer lets a thread enter the container's mount namespace for good.
// It must never be the first thread: that one cannot end, and it is what the
// process's own namespaces are read from.
func init() { runtime.LockOSThread() }

var name = []byte("studio-shim\x00")

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
	// Without it `ps` names the descriptor that the program was run from.
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var cfg shimapi.Config
	err := json.Unmarshal([]byte(os.Args[1]), &cfg)
	if err == nil {
		err = shim.Run(cfg, log)
	}
	log.Error("the pod's shim ends", "error", err)
	os.Exit(1)
}
