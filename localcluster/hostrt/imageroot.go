package hostrt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	sysuser "github.com/moby/sys/user"
	"golang.org/x/sys/unix"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/hostrt/shimapi"
	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/images/layer"
)

// realImage is the image that a container runs from, in its record: the store
// may forget the image under it.
type realImage struct {
	ID string `json:"id"`
	// Ref is what the pod's status says of it.
	Ref    string      `json:"ref"`
	Config v1.Config   `json:"config"`
	Layers layer.Stack `json:"layers"`
	// Losses is what of the image could not be unpacked.
	Losses layer.Result `json:"losses,omitzero"`
}

// useImages finds the images of a container and of its volumes and holds their
// layers, until releaseImages. Where the machine stands in there is none.
func (s *Server) useImages(ctx context.Context, rec *containerRecord, cfg *rt.ContainerConfig) error {
	root, err := s.findImage(cfg.GetImage().GetImage())
	if err != nil {
		return fmt.Errorf("image %s: %w", userImage(cfg), err)
	}
	var all []*images.Image
	if root != nil {
		all = append(all, root)
	}
	var at []string
	for _, m := range cfg.GetMounts() {
		name := m.GetImage().GetImage()
		if name == "" {
			continue
		}
		img, err := s.findImage(name)
		if err == nil && img == nil {
			err = errors.New("it needs the real image, which is not in the local store: `studio image import` or `studio image pull` it")
		}
		if err != nil {
			if said := m.GetImage().GetUserSpecifiedImage(); said != "" {
				name = said
			}
			return fmt.Errorf("image volume %s at %s: %w", name, m.GetContainerPath(), err)
		}
		all, at = append(all, img), append(at, m.GetContainerPath())
	}
	if len(all) == 0 {
		return nil
	}
	for _, img := range all {
		if err := s.cfg.Images.Prepare(ctx, img); err != nil {
			return err
		}
	}
	stacks, err := s.cfg.Images.Use(rec.ID, all...)
	if err != nil {
		return err
	}
	if root != nil {
		rec.Image, err = s.realImage(root, stacks[0], cfg)
		stacks = stacks[1:]
	}
	rec.Volumes = map[string]layer.Stack{}
	for i, path := range at {
		rec.Volumes[path] = stacks[i]
	}
	return err
}

func (s *Server) realImage(img *images.Image, stack layer.Stack, cfg *rt.ContainerConfig) (*realImage, error) {
	losses, err := s.cfg.Images.Losses(img)
	if err != nil {
		return nil, err
	}
	real := &realImage{ID: img.ID, Ref: img.ID, Config: img.Config, Layers: stack, Losses: losses}
	digests := img.Digests()
	// Of several repositories the one that the pod names.
	named := images.Repository(userImage(cfg))
	if i := slices.IndexFunc(digests, func(d string) bool { return images.Repository(d) == named }); i >= 0 {
		real.Ref = digests[i]
	} else if len(digests) > 0 {
		real.Ref = digests[0]
	}
	return real, nil
}

// imageVolume is the mount of an image, which is always read-only.
func (c *container) imageVolume(m *rt.Mount) (shimapi.Mount, error) {
	target := filepath.Clean("/" + m.GetContainerPath())
	stack, ok := c.volumes[m.GetContainerPath()]
	if !ok {
		return shimapi.Mount{}, fmt.Errorf("volume at %s: its image was not prepared", target)
	}
	return shimapi.Mount{
		Type: shimapi.ImageVolume, Source: filepath.Join(c.dir, "volumes", url.PathEscape(target)), Target: target, ReadOnly: true,
		Layers: stack, SubPath: m.GetImageSubPath(),
	}, nil
}

// releaseImages lets the store remove what only this container held.
func (s *Server) releaseImages(c *container) {
	if c.image == nil && len(c.volumes) == 0 {
		return
	}
	if err := s.cfg.Images.Release(c.id); err != nil {
		s.log.Warn("giving images back", "container", c.id, "error", err)
	}
}

// userImage is the image as the pod names it, complete.
func userImage(cfg *rt.ContainerConfig) string {
	name := cfg.GetImage().GetUserSpecifiedImage()
	if name == "" {
		name = strings.TrimPrefix(cfg.GetImage().GetImage(), hostPrefix)
	}
	if full, err := images.Normalize(name); err == nil {
		return full
	}
	return name
}

// imageRef is what the kubelet is told of the container's image.
func (c *container) imageRef() string {
	if c.image != nil {
		return c.image.Ref
	}
	return hostImageID(c.cfg.GetImage().GetImage())
}

func (c *container) imageID() string {
	if c.image != nil {
		return c.image.ID
	}
	return hostImageID(c.cfg.GetImage().GetImage())
}

// args is the command line: the pod's command and arguments, each with the
// image's in its place. A command of the pod's own drops the image's arguments.
func (c *container) args() []string {
	command, args := c.cfg.GetCommand(), c.cfg.GetArgs()
	if c.image != nil {
		if len(args) == 0 && len(command) == 0 {
			args = c.image.Config.Cmd
		}
		if len(command) == 0 {
			command = c.image.Config.Entrypoint
		}
	}
	return slices.Concat(command, args)
}

// prepareImage makes the folders of a root on top of an image, and mounts that
// come first.
func (s *Server) prepareImage(c *container, spec *shimapi.Spec) error {
	l := c.layer()
	spec.Overlay = &shimapi.Overlay{Lower: c.image.Layers, Upper: l.Upper(imageTree), Work: l.Work(imageTree), Options: s.overlay}
	for _, d := range []string{spec.Root, spec.Overlay.Upper, spec.Overlay.Work} {
		// A start that was cut short has left a part.
		if err := os.RemoveAll(d); err != nil {
			return err
		}
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if len(c.image.Layers) == 0 {
		// An overlay wants a lower folder, and an image may consist of nothing.
		spec.Overlay.Lower = []string{l.Upper("none")}
		if err := os.MkdirAll(spec.Overlay.Lower[0], 0o755); err != nil {
			return err
		}
	}
	if err := layer.CopyOwner(spec.Overlay.Lower[0], spec.Overlay.Upper); err != nil {
		return err
	}
	mounts := s.image.System()
	var volumes []string
	for path := range c.image.Config.Volumes {
		volumes = append(volumes, path)
	}
	slices.Sort(volumes)
	for _, v := range volumes {
		if v = filepath.Clean("/" + v); v != "/" {
			mounts = append(mounts, shimapi.Mount{Target: v, Type: shimapi.OwnFolder})
		}
	}
	spec.Mounts = append(mounts, spec.Mounts...)
	return nil
}

// imageTree names the writable layer of a root that is an image.
const imageTree = "image"

// has tells whether the image has something at a path.
func (i *realImage) has(path string) bool { return i.Layers.Has(path) }

// prepareRoot makes what the container's root is mounted of.
func (s *Server) prepareRoot(c *container, spec *shimapi.Spec) error {
	if c.image != nil {
		if err := s.prepareImage(c, spec); err != nil {
			return fmt.Errorf("making the container's root of image %s: %w", c.image.Ref, err)
		}
		return nil
	}
	mounts, err := s.image.Prepare(c.layer())
	if err != nil {
		return fmt.Errorf("making the container's root: %w", err)
	}
	spec.Mounts = append(mounts, spec.Mounts...)
	return s.makeHome(c, spec)
}

// noCommand says why a container without a command can not run.
func noCommand(c *container, image string) error {
	name := c.cfg.GetMetadata().GetName()
	if c.image != nil {
		return fmt.Errorf("no command specified: container %s names none, and neither does image %s: set command in the pod", name, image)
	}
	return fmt.Errorf("container %s names no command, and on this node the machine stands in for image %s, whose own command is not known: set command in the pod, or `studio image import` the image", name, image)
}

// sayImage tells the pod's user what is not as with any cluster.
func (s *Server) sayImage(c *container, image string) {
	if c.image == nil {
		s.once(c.pod, "HostImage "+image, Event{Reason: "HostImage", Message: fmt.Sprintf("this machine stands in for image %s: its programs and libraries are used, and what is written outside volumes and the home folder goes with the pod%s", image, s.inPlace())})
		s.sayReadOnlyTrees(c.pod)
		return
	}
	if c.image.Losses.Owners > 0 {
		s.once(c.pod, "ImageOwners "+image, Event{Warning: true, Reason: "ImageOwners", Message: fmt.Sprintf("%d files of image %s belong to other users and are root's here: %s", c.image.Losses.Owners, image, cureUnmapped)})
	}
	if c.image.Losses.Devices > 0 {
		s.once(c.pod, "ImageDevices "+image, Event{Warning: true, Reason: "ImageDevices", Message: fmt.Sprintf("image %s has %d device nodes, which a plain user can not make: they are left out", image, c.image.Losses.Devices)})
	}
}

// inPlace says what cannot be written.
func (s *Server) inPlace() string {
	if !s.cfg.Rootless {
		return ""
	}
	return "; its files can be replaced or removed there, but not changed in place, for the node runs without root"
}

// ownFolders makes ready, before a container has to wait for it, what in a user
// namespace lies above the system's trees.
func (s *Server) ownFolders() {
	s.mu.Lock()
	alone := len(s.containers) == 0
	s.mu.Unlock()
	if err := s.image.OwnFolders(alone); err != nil {
		s.log.Error("containers cannot write to the system's folders", "error", err)
	}
}

// imageStopSignal reads the image's stop signal: a name or a number.
func imageStopSignal(text string) unix.Signal {
	text = strings.ToUpper(text)
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= sigRTMax {
		return unix.Signal(n)
	}
	if !strings.HasPrefix(text, "SIG") {
		text = "SIG" + text
	}
	// The CRI's names for the signals around the real-time range are its own.
	return namedSignal(strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(text))
}

// forgetUses lets the store remove what containers held that are no more.
func (s *Server) forgetUses() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Images.Forget(func(id string) bool { return s.containers[id] != nil })
}

// findUser looks a user up in the image's own lists, where a number need not be
// listed. A list that the image does not have is empty.
func (i *realImage) findUser(spec string) (*sysuser.ExecUser, error) {
	var lists [2]io.Reader
	for n, path := range []string{"/etc/passwd", "/etc/group"} {
		raw, err := i.Layers.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		lists[n] = bytes.NewReader(raw)
	}
	who, err := sysuser.GetExecUser(spec, &sysuser.ExecUser{Home: "/"}, lists[0], lists[1])
	if err != nil {
		return nil, fmt.Errorf("the container is to run as user %q, whom its image does not know (%w): set runAsUser to a number", spec, err)
	}
	return who, nil
}
