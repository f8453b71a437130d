// Package hostrt is the node's container runtime: the CRI of an unmodified
// kubelet on sandboxed processes of this machine. A pod is a shim process in
// namespaces of its own (package shim); the shim's folder on disk says all that
// must be known of the pod, so the runtime can end and start again at any time
// and adopts what runs. The machine itself is the image (package hostimage).
package hostrt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"github.com/mlstudio/studio/localcluster/hostrt/hostimage"
	"github.com/mlstudio/studio/localcluster/hostrt/kept"
	"github.com/mlstudio/studio/localcluster/hostrt/limits"
	"github.com/mlstudio/studio/localcluster/hostrt/pace"
	"github.com/mlstudio/studio/localcluster/hostrt/podnet"
	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/machine"
	"github.com/mlstudio/studio/localcluster/projects"
)

// defaultMTU is what the link to the outside has, too: no wire lies between, and
// one packet then carries what would be 45 of an Ethernet's.
const defaultMTU = 65520

// Config is what the runtime needs. All fields without a comment on a default
// are required.
type Config struct {
	// StateDir holds the sandboxes; Socket is where the kubelet calls.
	StateDir, Socket string
	// ShimPath is the studio-shim program.
	ShimPath string
	// PodLogsRoot is the folder below which the kubelet wants the pods' logs.
	PodLogsRoot string
	// HolderID names this life of the node's namespaces: sandboxes of another are dead.
	HolderID string
	// PodCIDR holds the pods' addresses and GatewayIP, the node's.
	PodCIDR   netip.Prefix
	GatewayIP netip.Addr
	// MTU of the pods' links in bytes; 0: that of the way out.
	MTU int
	// Project finds a registered project, HomeDir its persistent home folder.
	Project func(id string) (*projects.Project, error)
	HomeDir func(id string) string
	// Images are the real images; where one is missing the machine may stand in.
	Images *images.Store
	// Events takes what a pod's user should know. It must not block.
	Events func(Event)
	// KeptDir takes files that containers left outside volumes, up to KeptBudget bytes.
	KeptDir    string
	KeptBudget int64
	// AllowMount says whether a pod's container may mount a path of the node, whose links are resolved.
	AllowMount func(hostPath, podUID string) error
	// FoldersDir caches a copy of the system's folders where Rootless; it must be
	// on StateDir's file system.
	FoldersDir string
	// Rootless tells that the node runs in a user namespace.
	Rootless bool
	// GroupsDir is the folder of the control group in which the pods' go; where it
	// is empty or missing the shims watch what containers use.
	GroupsDir string
	// Share is what pods may use of the machine; without one only their own limits count.
	Share machine.Share
	// Log is slog.Default if it is nil.
	Log *slog.Logger
}

// Event is something that the user of a pod should know.
type Event struct {
	Namespace, Name, UID string
	Warning              bool
	Reason, Message      string
}

// Server implements the CRI.
type Server struct {
	rt.UnimplementedRuntimeServiceServer
	rt.UnimplementedImageServiceServer

	cfg   Config
	log   *slog.Logger
	net   *podnet.Network
	ports *podnet.HostPorts
	pool  *podnet.Pool
	image *hostimage.Image
	// overlay is the mount options for a root that is an image.
	overlay string
	// shim is the program of every pod's shim.
	shim *os.File
	kept *kept.Store
	caps []string
	ids  idMap
	// groups is nil without control groups.
	groups    *limits.Groups
	oomScore  int64
	userTasks int64
	samples   pace.Samples
	layers    layers

	pulls  singleflight.Group
	events *broadcaster
	stream streaming.Server
	// told remembers what was said once: per pod UID and topic.
	told sync.Map
	// work counts what goes on in the background; life ends with Serve.
	work sync.WaitGroup
	life context.Context
	end  context.CancelFunc

	mu         sync.Mutex
	pods       map[string]*pod
	containers map[string]*container
}

// New prepares the runtime in the node's namespaces and adopts what runs.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.MTU == 0 {
		cfg.MTU = defaultMTU
	}
	if cfg.AllowMount == nil || cfg.Events == nil || cfg.Project == nil || cfg.HomeDir == nil || cfg.Images == nil || cfg.HolderID == "" {
		return nil, errors.New("hostrt: AllowMount, Events, Project, HomeDir, Images and HolderID must be set")
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, pods: map[string]*pod{}, containers: map[string]*container{},
		net:   &podnet.Network{Gateway: cfg.GatewayIP, MTU: cfg.MTU},
		ports: &podnet.HostPorts{},
		pool:  podnet.NewPool(cfg.PodCIDR, cfg.GatewayIP),
		kept:  &kept.Store{Dir: cfg.KeptDir, Budget: cfg.KeptBudget},
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.events = newBroadcaster(s)
	for _, dir := range []string{s.podsDir(), s.trashDir(), cfg.KeptDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("preparing the container runtime: %w", err)
		}
	}
	// Mounts that the kubelet makes later must reach the pods' namespaces.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return nil, fmt.Errorf("sharing the node's mounts with its pods: %w", err)
	}
	var err error
	if s.image, err = hostimage.Discover(s.cfg.StateDir, cfg.FoldersDir, cfg.Rootless); err != nil {
		return nil, err
	}
	s.overlay = hostimage.ImageOptions(s.cfg.StateDir)
	if s.caps, err = boundingSet(); err != nil {
		return nil, err
	}
	if s.ids, err = readIDMap(); err != nil {
		return nil, err
	}
	if s.shim, err = seal(cfg.ShimPath); err != nil {
		return nil, err
	}
	if err := s.prepareLimits(); err != nil {
		return nil, err
	}
	if err := s.net.SetUp(); err != nil {
		return nil, err
	}
	if err := s.adopt(); err != nil {
		return nil, err
	}
	s.restoreHostPorts()
	if err := s.forgetUses(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) podsDir() string  { return filepath.Join(s.cfg.StateDir, "pods") }
func (s *Server) trashDir() string { return filepath.Join(s.cfg.StateDir, "trash") }

// Serve answers on the socket until the context ends. Pods go on after it.
func (s *Server) Serve(ctx context.Context) error {
	defer s.end()
	if err := os.Remove(s.cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("taking the runtime's socket: %w", err)
	}
	l, err := net.Listen("unix", s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("taking the runtime's socket: %w", err)
	}
	defer l.Close()
	if err := os.Chmod(s.cfg.Socket, 0o600); err != nil {
		return fmt.Errorf("protecting the runtime's socket: %w", err)
	}
	stopStreaming, err := s.serveStreams()
	if err != nil {
		return err
	}
	defer stopStreaming()
	s.work.Go(s.ownFolders)
	eventsDone := make(chan struct{})
	go func() {
		defer close(eventsDone)
		s.events.run(ctx)
	}()
	g := grpc.NewServer(grpc.MaxRecvMsgSize(16<<20), grpc.MaxSendMsgSize(16<<20))
	rt.RegisterRuntimeServiceServer(g, s)
	rt.RegisterImageServiceServer(g, s)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	err = g.Serve(l)
	if ctx.Err() != nil {
		<-eventsDone
		s.end()
		s.work.Wait()
		return nil
	}
	return fmt.Errorf("serving the kubelet: %w", err)
}

// Version implements the CRI.
func (s *Server) Version(context.Context, *rt.VersionRequest) (*rt.VersionResponse, error) {
	return &rt.VersionResponse{Version: "0.1.0", RuntimeName: runtimeName, RuntimeVersion: runtimeVersion(), RuntimeApiVersion: "v1"}, nil
}

// handlers are the runtimes that a RuntimeClass can name: the usual one, which
// is libcontainer here as elsewhere.
var handlers = []string{"", "runc"}

// Status implements the CRI: New has done all that can fail.
func (s *Server) Status(context.Context, *rt.StatusRequest) (*rt.StatusResponse, error) {
	var known []*rt.RuntimeHandler
	for _, name := range handlers {
		known = append(known, &rt.RuntimeHandler{Name: name, Features: &rt.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true}})
	}
	return &rt.StatusResponse{
		Status: &rt.RuntimeStatus{Conditions: []*rt.RuntimeCondition{
			{Type: rt.RuntimeReady, Status: true},
			{Type: rt.NetworkReady, Status: true},
		}},
		RuntimeHandlers: known,
		Features:        &rt.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}, nil
}

// RuntimeConfig implements the CRI.
func (s *Server) RuntimeConfig(context.Context, *rt.RuntimeConfigRequest) (*rt.RuntimeConfigResponse, error) {
	return &rt.RuntimeConfigResponse{Linux: &rt.LinuxRuntimeConfiguration{CgroupDriver: rt.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig implements the CRI: the pod CIDR is the engine's to choose.
func (s *Server) UpdateRuntimeConfig(context.Context, *rt.UpdateRuntimeConfigRequest) (*rt.UpdateRuntimeConfigResponse, error) {
	return &rt.UpdateRuntimeConfigResponse{}, nil
}
