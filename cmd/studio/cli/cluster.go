package cli

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/project/apply"
	"github.com/mlstudio/studio/version"
)

// connect makes the client of the engine's API.
func (a *app) connect(dir datadir.Dir, namespace string) (*apply.Client, error) {
	// The library's own log is for its developers; errors come back as values.
	klog.SetLogger(logr.Discard())
	cfg, err := clientcmd.BuildConfigFromFlags("", dir.Kubeconfig())
	if err != nil {
		return nil, fail(fmt.Errorf("reading the engine's kubeconfig: %w", err), "studio stop && studio up")
	}
	cfg.QPS = -1 // the server is ours alone and has its own limits
	cfg.UserAgent = "studio/" + version.Version
	cfg.WarningHandlerWithContext = &serverWarnings{w: a.Err, quiet: a.quiet, told: map[string]bool{}}
	return apply.New(cfg, namespace, runnables)
}

// serverWarnings shows each warning that the API server sends once.
type serverWarnings struct {
	mu    sync.Mutex
	w     io.Writer
	quiet bool
	told  map[string]bool
}

var _ rest.WarningHandlerWithContext = (*serverWarnings)(nil)

func (s *serverWarnings) HandleWarningHeaderWithContext(_ context.Context, code int, _ string, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code != 299 || text == "" || s.quiet || s.told[text] {
		return
	}
	s.told[text] = true
	fmt.Fprintln(s.w, "warning:", text)
}
