package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/mlstudio/studio/cmd/studio/cli/progress"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/project/apply"
	"github.com/mlstudio/studio/version"
)

// session is a verb's hold on an engine that runs.
type session struct {
	*app
	engine engine
	dir    datadir.Dir
	client *apply.Client
}

// session starts the engine where it does not run and connects to its API.
func (a *app) session(ctx context.Context, namespace string) (*session, error) {
	e, dir, err := a.ensure(ctx)
	if err != nil {
		return nil, err
	}
	c, err := a.connect(dir, namespace)
	if err != nil {
		return nil, err
	}
	return &session{app: a, engine: e, dir: dir, client: c}, nil
}

// Tries and the pause before the first repetition, which doubles: the supervisor
// may notice a moment after us that a part has ended, and no event tells.
const (
	tries      = 5
	firstPause = 200 * time.Millisecond
)

// steady repeats a call that failed because the engine was away. Up returns when
// it is ready again.
func (s *session) steady(ctx context.Context, call func() error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := call()
		if try == tries || !(apply.Transient(err) || errors.Is(err, client.ErrNotRunning)) {
			return err
		}
		if try == 2 { // the first repetition mostly succeeds
			s.note("studio: the engine was away (%v); trying again", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
		if _, err := s.bringUp(ctx, s.engine, s.dir, progress.Quiet()); err != nil {
			return err
		}
	}
}

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
