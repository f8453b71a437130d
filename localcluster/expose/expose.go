// Package expose opens ports on the machine's loopback that lead to services
// and pods of the cluster. They live in the engine, so that they outlive the
// command that asked for them, and are remembered until they are removed: an
// address in a bookmark or a notebook holds over restarts.
package expose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"

	"github.com/mlstudio/studio/localcluster/backend"
	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/forward"
)

// loopback is the one address that is ever listened on.
const loopback = "127.0.0.1"

// firstWord is how long an answer waits for what is known of the endpoints.
const firstWord = 3 * time.Second

// Config is what New needs.
type Config struct {
	Dir datadir.Dir
	// Client waits for the API server and returns a client of it.
	Client func(context.Context) (kubernetes.Interface, error)
	// Dial connects inside the node.
	Dial backend.Dial
	Log  *slog.Logger
}

// Manager holds the exposures of one engine.
type Manager struct {
	config Config
	ctx    context.Context

	mu   sync.Mutex
	open []*exposure
}

// exposure is one port of the loopback and where it leads.
type exposure struct {
	stored
	backend *backend.Backend
	// failed says why nothing listens.
	failed error
	// found is closed when backend is set, or will never be.
	found chan struct{}
	end   context.CancelFunc
}

// stored is what is remembered of an exposure.
type stored struct {
	backend.Target
	LocalPort int `json:"localPort"`
}

// Open takes up what was exposed before. All ends with ctx.
func Open(ctx context.Context, c Config) (*Manager, error) {
	m := &Manager{config: c, ctx: ctx}
	all, err := load(c.Dir)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		x := &exposure{stored: s}
		if x.failed = m.start(x); x.failed != nil {
			c.Log.Warn("a port that was exposed cannot be opened", "port", s.LocalPort, "for", s.Target, "error", x.failed)
		}
		m.open = append(m.open, x)
	}
	return m, nil
}

// start listens and follows what is behind.
func (m *Manager) start(x *exposure) error {
	l, err := listen(m.ctx, x.LocalPort)
	if err != nil {
		return err
	}
	x.LocalPort = l.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithCancel(m.ctx)
	closed := make(chan struct{})
	x.end = func() { // the port is free when it returns
		cancel()
		<-closed
	}
	x.found = make(chan struct{})
	go func() {
		defer close(x.found)
		// It fails only when ctx ends.
		if cs, err := m.config.Client(ctx); err == nil {
			b := backend.Follow(ctx, cs, m.config.Dial, x.Target)
			m.mu.Lock()
			x.backend = b
			m.mu.Unlock()
		}
	}()
	dial := func(ctx context.Context) (net.Conn, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-x.found:
		}
		m.mu.Lock()
		b := x.backend
		m.mu.Unlock()
		if b == nil {
			return nil, context.Canceled
		}
		conn, err := b.Dial(ctx)
		if err != nil {
			m.config.Log.Info("a connection to an exposed port was closed", "port", x.LocalPort, "error", err)
		}
		return conn, err
	}
	go func() {
		defer close(closed)
		forward.Accept(ctx, l, dial, m.config.Log)
	}()
	return nil
}

// listen opens a port of the loopback, or any for 0.
func listen(ctx context.Context, port int) (net.Listener, error) {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp4", net.JoinHostPort(loopback, strconv.Itoa(port)))
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, &client.Refusal{
			Cause: fmt.Sprintf("port %d of %s is taken by %s", port, loopback, listener(port)),
			Cure:  "choose another with --port, or leave --port out",
		}
	case errors.Is(err, unix.EACCES):
		return nil, &client.Refusal{
			Cause: fmt.Sprintf("port %d may not be opened by this user", port), Cure: "choose one from 1024 on with --port, or leave --port out",
		}
	case err != nil:
		return nil, fmt.Errorf("listening on port %d: %w", port, err)
	}
	return l, nil
}

// Add exposes what the request names and remembers it. What is exposed already
// under a port that fits is returned as it is.
func (m *Manager) Add(ctx context.Context, r client.ExposeRequest) (client.Exposure, error) {
	cs, err := m.config.Client(ctx)
	if err != nil {
		return client.Exposure{}, err
	}
	target, number, err := resolve(ctx, cs, r)
	if err != nil {
		return client.Exposure{}, err
	}
	m.mu.Lock()
	for _, x := range m.open {
		if x.Target == target && (r.LocalPort == 0 || r.LocalPort == x.LocalPort) && x.failed == nil {
			said := x.describe()
			m.mu.Unlock()
			return said, nil
		}
	}
	x, err := m.addLocked(target, r.LocalPort, number)
	m.mu.Unlock()
	if err != nil {
		return client.Exposure{}, err
	}
	m.settle(ctx, x)
	m.mu.Lock()
	defer m.mu.Unlock()
	return x.describe(), nil
}

// addLocked listens on the wanted port, else on the target's own number where
// that is free, else on any.
func (m *Manager) addLocked(t backend.Target, wanted, number int) (*exposure, error) {
	for _, other := range m.open {
		if wanted != 0 && other.LocalPort == wanted && other.Target != t {
			return nil, &client.Refusal{
				Cause: fmt.Sprintf("port %d is exposed already, for %s", wanted, other.Target),
				Cure:  fmt.Sprintf("choose another with --port, or `studio expose rm %d`", wanted),
			}
		}
	}
	x := &exposure{stored: stored{Target: t, LocalPort: wanted}}
	var err error
	if wanted == 0 && number >= 1024 && m.byPort(number) == nil {
		x.LocalPort = number
		if err = m.start(x); err == nil {
			return x, m.remember(x)
		}
		x.LocalPort = 0
	}
	if err = m.start(x); err != nil {
		return nil, err
	}
	return x, m.remember(x)
}

func (m *Manager) byPort(port int) *exposure {
	for _, x := range m.open {
		if x.LocalPort == port {
			return x
		}
	}
	return nil
}

// remember adds an exposure, in place of a failed one of the same port.
func (m *Manager) remember(x *exposure) error {
	before := m.open
	m.open = append(slices.DeleteFunc(slices.Clone(m.open), func(o *exposure) bool { return o.LocalPort == x.LocalPort }), x)
	if err := m.save(); err != nil {
		m.open = before
		x.end()
		return err
	}
	return nil
}

// settle waits until the first word on what is behind has come, so that the
// answer says how it is.
func (m *Manager) settle(ctx context.Context, x *exposure) {
	ctx, cancel := context.WithTimeout(ctx, firstWord)
	defer cancel()
	select {
	case <-ctx.Done():
		return
	case <-x.found:
	}
	m.mu.Lock()
	b := x.backend
	m.mu.Unlock()
	if b != nil {
		b.Known(ctx)
	}
}

// Remove closes the exposures that the reference names: a port, or
// [KIND/]NAME[:PORT].
func (m *Manager) Remove(namespace, ref string) ([]client.Exposure, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var gone []*exposure
	for _, x := range m.open {
		if x.named(namespace, ref) {
			gone = append(gone, x)
		}
	}
	if len(gone) == 0 {
		return nil, &client.Refusal{Cause: fmt.Sprintf("nothing that is exposed is named %q", ref), Cure: "`studio expose list` shows ports and names"}
	}
	before := m.open
	m.open = slices.DeleteFunc(slices.Clone(m.open), func(x *exposure) bool { return slices.Contains(gone, x) })
	if err := m.save(); err != nil {
		m.open = before
		return nil, err
	}
	var said []client.Exposure
	for _, x := range gone {
		if x.end != nil {
			x.end()
		}
		said = append(said, x.describe())
	}
	return said, nil
}

// List tells of all exposures, by port.
func (m *Manager) List() []client.Exposure {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []client.Exposure{}
	for _, x := range m.open {
		list = append(list, x.describe())
	}
	slices.SortFunc(list, func(a, b client.Exposure) int { return a.LocalPort - b.LocalPort })
	return list
}

// describe tells of an exposure; the manager's lock is held.
func (x *exposure) describe() client.Exposure {
	said := client.Exposure{
		Kind: x.Kind, Namespace: x.Namespace, Name: x.Name, Port: x.Port, LocalPort: x.LocalPort,
		Address: net.JoinHostPort(loopback, strconv.Itoa(x.LocalPort)), State: client.ExposureOpen,
	}
	switch {
	case x.failed != nil:
		said.State, said.Message = client.ExposureFailed, x.failed.Error()
	case x.backend == nil:
		said.State, said.Message = client.ExposureWaiting, "the API server is starting"
	default:
		addresses, err := x.backend.Addresses()
		said.Endpoints = addresses
		if err != nil {
			said.State, said.Message = client.ExposureWaiting, err.Error()
		}
	}
	return said
}
