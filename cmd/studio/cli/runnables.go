package cli

import "github.com/mlstudio/studio/platform/runnable"

// runnables are the kinds that `run` and `logs` follow; each pillar adds its own.
var runnables = runnable.NewSet(runnable.Builtin())
