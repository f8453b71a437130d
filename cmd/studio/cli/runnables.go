package cli

import (
	"github.com/mlstudio/studio/platform/runnable"
	"github.com/mlstudio/studio/train"
)

// runnables are the kinds that `run` and `logs` follow; each pillar adds its own.
var runnables = runnable.NewSet(runnable.Builtin(), train.Runnables())
