// Package holder owns what the pods of an embedded node live in: the user,
// mount, PID and network namespaces, the node's file system and its way out.
// It is PID 1 of its namespace and outlives the engine; the node half comes
// and goes inside, in a PID namespace below that shows neither of them the
// holder. The end of the holder is the end of all pods, as with the
// power of a machine.
//
// The holder itself stays in the host's network and sees the host's files, so
// that it can carry the node's traffic and show it more folders. It also joins
// the API server and the node: both run across its two sides, and neither the
// node half nor a pod sees a socket of the engine.
package holder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/forward"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
	"github.com/mlstudio/studio/localcluster/netstack"
	"github.com/mlstudio/studio/localcluster/network"
	"github.com/mlstudio/studio/localcluster/notify"
)

// HostAddress stands for the host's loopback inside the node's network, on named
// ports alone; it is of the range that no real network has.
var HostAddress = netip.MustParseAddr("192.0.2.54")

// Variables that the node half is started with, beside the data directory's.
const (
	// EnvID holds an id that is new with each holder: pods of another are dead.
	EnvID = "STUDIO_HOLDER_ID"
	// EnvDrain, when set, asks the node half to end all pods with grace and then
	// itself; its value is the seconds they have at most, 0 for their own.
	EnvDrain = "STUDIO_NODE_DRAIN"
)

// Config is what Run needs.
type Config struct {
	Dir datadir.Dir
	// Node is the node half's program and arguments, by default this program
	// with the argument "node". A program in this one's folder is found at BinDir.
	Node []string
	// HostPorts are ports of the host's loopback that the node may reach at HostAddress.
	HostPorts []uint16
	Notify    *notify.Notifier
	Log       *slog.Logger
	// NodeLog takes the output of the node half.
	NodeLog interface{ Write([]byte) (int, error) }
}

// holder is the running state.
type holder struct {
	config  Config
	id      string
	since   time.Time
	mapping namespaces.Mapping
	thread  *nodeThread
	reaper  *reaper
	node    *half
	shown   *prefixes
	events  *events
	// programs is the folder of this program and its companions.
	programs string
	// init is the first process of the pods' PID namespace: below it, none sees
	// the holder, whose root is the host's.
	init    *namespaces.Init
	initEnd <-chan unix.WaitStatus
	stop    context.CancelFunc
	ended   <-chan struct{}
}

// Run holds the namespaces until ctx ends or a client asks for a shutdown. The
// process must have been started by Spawn.
func Run(ctx context.Context, c Config) error {
	done := c.Notify.Phase("holder")
	h, err := start(ctx, c)
	if done(err); err != nil {
		return err
	}
	return h.serve()
}

func start(ctx context.Context, c Config) (*holder, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("starting the holder: it must be the first process of its namespace; `studio up` starts it so")
	}
	if err := lock(c.Dir); err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("starting the holder: %w", err)
	}
	if len(c.Node) == 0 {
		c.Node = []string{filepath.Join(BinDir, filepath.Base(exe)), "node"}
	}
	if err := ownNamespaces(); err != nil {
		return nil, err
	}
	net, err := network.Load(c.Dir)
	if err != nil {
		return nil, err
	}
	group, err := awaitGroup()
	if err != nil {
		return nil, err
	}
	if group.Why != "" {
		c.Log.Info("pods have no control group", "why", group.Why)
	}
	h := &holder{config: c, programs: filepath.Dir(exe), id: newID(), since: time.Now(), mapping: namespaces.Current(), reaper: startReaper(), events: newEvents()}
	if h.thread, err = startThread(); err != nil {
		return nil, namespaces.Explain("starting the holder", err)
	}
	ctx, h.stop = context.WithCancel(ctx)
	if err := h.connect(ctx, net); err != nil {
		return nil, err
	}
	r := root{dir: c.Dir, home: homeOf(), bin: h.programs, capable: h.mapping == namespaces.None, nameserver: network.Nameserver.String(), group: group}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := h.enter(r); err != nil {
		return nil, namespaces.Explain("starting the holder", err)
	}
	h.shown = &prefixes{dir: c.Dir, home: r.home, thread: h.thread}
	h.node = newHalf(ctx, h)
	return h, h.listen(ctx)
}

// enter builds the node's root and its PID namespace.
func (h *holder) enter(r root) error {
	r.mountProc = func(proc string) error {
		var err error
		h.init, err = namespaces.StartInit(proc, func(program string, args []string, attr *syscall.ProcAttr) (pid int, err error) {
			pid, h.initEnd, err = h.reaper.start(func() (int, error) { return syscall.ForkExec(program, args, attr) })
			return pid, err
		})
		return err
	}
	if err := h.thread.do(r.enter); err != nil {
		return err
	}
	h.init.Settle()
	return h.thread.enterPID(h.init.NS)
}

// lockName keeps two holders of one data directory apart.
const lockName = "holder.lock"

// lock takes the data directory for the life of this process.
func lock(d datadir.Dir) error {
	// A bare descriptor: nothing closes it before the process ends.
	fd, err := unix.Open(filepath.Join(d.Run(), lockName), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("starting the holder: %w", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("starting the holder: another one holds %s: %w", d, err)
	}
	return nil
}

// ownNamespaces makes the new mount and PID namespaces fit each other.
func ownNamespaces() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return namespaces.Explain("separating the holder's mounts", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return namespaces.Explain("mounting a proc file system", err)
	}
	if err := unix.Sethostname([]byte(network.NodeName)); err != nil {
		return fmt.Errorf("naming the node: %w", err)
	}
	return nil
}

// connect lays the node's network: its addresses, the way out, and the ways
// between it and the API server.
func (h *holder) connect(ctx context.Context, n network.Network) error {
	var api net.Listener
	var link *netstack.Link
	err := h.thread.do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		// The node's own address comes first: the kernel takes it for what leaves by a
		// link without one, and all links but this are such.
		for _, a := range []netip.Addr{n.Gateway(), n.APIAddress, network.DNSServer.Addr()} {
			if err := netlink.AddrReplace(lo, &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice())}); err != nil {
				return err
			}
		}
		if api, err = net.Listen("tcp", netip.AddrPortFrom(n.APIAddress, network.APIPort).String()); err != nil {
			return err
		}
		link, err = netstack.Open(netstack.Config{
			Source: n.Gateway(), Nameserver: network.Nameserver,
			Host: HostAddress, HostPorts: h.config.HostPorts,
			Refuse: []netip.Prefix{n.PodCIDR, n.ServiceCIDR}, Log: h.config.Log,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("laying the node's network: %w", err)
	}
	if err := link.Serve(ctx); err != nil {
		return err
	}
	socket := h.config.Dir.APISocket()
	go forward.Accept(ctx, api, func(ctx context.Context) (net.Conn, error) {
		return dialWhenServed(ctx, socket, apiPatience)
	}, h.config.Log)
	return serveConnect(ctx, h.config.Dir.NodeSocket(), h.dialNode, h.config.Log)
}

// dialNode connects to an address inside the node's network.
func (h *holder) dialNode(ctx context.Context, address string) (conn net.Conn, err error) {
	h.thread.inNetwork(func() {
		d := net.Dialer{Timeout: nodeDialTimeout}
		conn, err = d.DialContext(ctx, "tcp", address)
	})
	if conn == nil && err == nil {
		err = errors.New("entering the node's network failed")
	}
	return conn, err
}

func newID() string {
	raw := make([]byte, 8)
	rand.Read(raw)
	return hex.EncodeToString(raw)
}

// homeOf is the home of the user who started the engine; inside a user
// namespace the name of uid 0 would be root's.
func homeOf() string {
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Clean(home)
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}
