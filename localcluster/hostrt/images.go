package hostrt

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/version"
)

const runtimeName = "hostrt"

func runtimeVersion() string { return version.Version }

// hostPrefix marks the ID of an image that the machine stands in for.
const hostPrefix = "host:"

// hostImageID is how an image that the machine stands in for is called.
func hostImageID(name string) string {
	ref, err := reference.ParseDockerRef(strings.TrimPrefix(name, hostPrefix))
	if err != nil {
		return name
	}
	return hostPrefix + ref.String()
}

// findImage finds the real image of a name or ID. It is nil, without an error,
// where the machine stands in; images.ErrUnknown says that neither is there.
func (s *Server) findImage(name string) (*images.Image, error) {
	mode, err := s.cfg.Images.Mode()
	if err != nil {
		return nil, err
	}
	if mode == images.Host || strings.HasPrefix(name, hostPrefix) {
		return nil, nil
	}
	img, err := s.cfg.Images.Get(name)
	// An ID was found a moment ago: the machine must not stand in for what was
	// removed since.
	if errors.Is(err, images.ErrUnknown) && mode == images.Auto && !strings.HasPrefix(name, "sha256:") {
		return nil, nil
	}
	return img, err
}

// ImageStatus implements the CRI: the store's images, and unless only those
// count the machine, which is every image with a well formed name.
func (s *Server) ImageStatus(_ context.Context, r *rt.ImageStatusRequest) (*rt.ImageStatusResponse, error) {
	name := r.GetImage().GetImage()
	img, err := s.findImage(name)
	switch {
	case errors.Is(err, images.ErrUnknown):
		return &rt.ImageStatusResponse{}, nil
	case err != nil:
		return nil, err
	case img != nil:
		return &rt.ImageStatusResponse{Image: criImage(img)}, nil
	}
	ref, err := reference.ParseDockerRef(strings.TrimPrefix(name, hostPrefix))
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	image := &rt.Image{Id: hostImageID(ref.String()), RepoTags: []string{ref.String()}, Size: 1, Uid: &rt.Int64Value{Value: 0}, Spec: &rt.ImageSpec{Image: name}, Pinned: true}
	return &rt.ImageStatusResponse{Image: image}, nil
}

// criImage is an image in the kubelet's words.
func criImage(img *images.Image) *rt.Image {
	out := &rt.Image{Id: img.ID, RepoTags: img.Tags(), RepoDigests: img.Digests(), Size: uint64(max(img.Size, 1)), Pinned: img.Pinned, Spec: &rt.ImageSpec{Image: img.ID}}
	user, _, _ := strings.Cut(img.Config.User, ":")
	if user == "" {
		user = "0"
	}
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		out.Uid = &rt.Int64Value{Value: uid}
	} else {
		out.Username = user
	}
	return out
}

// PullImage implements the CRI. What was imported or built here is newer than
// any registry's, and where the machine may stand in nothing is fetched at all.
func (s *Server) PullImage(ctx context.Context, r *rt.PullImageRequest) (*rt.PullImageResponse, error) {
	name := r.GetImage().GetImage()
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	mode, err := s.cfg.Images.Mode()
	if err != nil {
		return nil, err
	}
	img, err := s.findImage(ref.String())
	switch {
	case err == nil && img == nil:
		return &rt.PullImageResponse{ImageRef: hostImageID(ref.String())}, nil
	case err == nil && (img.Pinned || mode != images.OCI):
		return &rt.PullImageResponse{ImageRef: img.ID}, nil
	case err != nil && !errors.Is(err, images.ErrUnknown):
		return nil, err
	}
	if img, err = s.pull(ctx, ref.String(), r.GetAuth()); err != nil {
		return nil, err
	}
	return &rt.PullImageResponse{ImageRef: img.ID}, nil
}

// ListImages implements the CRI: the store's. The machine itself takes no space
// that could be freed.
func (s *Server) ListImages(_ context.Context, r *rt.ListImagesRequest) (*rt.ListImagesResponse, error) {
	wanted := r.GetFilter().GetImage().GetImage()
	all, err := s.cfg.Images.List()
	if err != nil {
		return nil, err
	}
	res := &rt.ListImagesResponse{}
	if wanted != "" {
		img, err := s.cfg.Images.Get(wanted)
		if errors.Is(err, images.ErrUnknown) {
			return res, nil
		}
		if err != nil {
			return nil, err
		}
		all = []*images.Image{img}
	}
	for _, img := range all {
		res.Images = append(res.Images, criImage(img))
	}
	return res, nil
}

// RemoveImage implements the CRI: an ID takes all its names along. One that is
// not there is no error.
func (s *Server) RemoveImage(_ context.Context, r *rt.RemoveImageRequest) (*rt.RemoveImageResponse, error) {
	img, err := s.cfg.Images.Get(r.GetImage().GetImage())
	if err == nil {
		_, err = s.cfg.Images.Remove(img.ID)
	}
	if err != nil && !errors.Is(err, images.ErrUnknown) {
		return nil, err
	}
	return &rt.RemoveImageResponse{}, nil
}

// ImageFsInfo implements the CRI: images and what containers write lie on one
// file system.
func (s *Server) ImageFsInfo(context.Context, *rt.ImageFsInfoRequest) (*rt.ImageFsInfoResponse, error) {
	usage, err := s.cfg.Images.Usage()
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixNano()
	// The kubelet looks the path up by itself, so a folder that both see will do.
	where := &rt.FilesystemIdentifier{Mountpoint: s.cfg.StateDir}
	none := &rt.UInt64Value{}
	return &rt.ImageFsInfoResponse{
		ImageFilesystems: []*rt.FilesystemUsage{{
			Timestamp: now, FsId: where,
			UsedBytes: &rt.UInt64Value{Value: uint64(usage.Bytes)}, InodesUsed: &rt.UInt64Value{Value: uint64(usage.Files)},
		}},
		ContainerFilesystems: []*rt.FilesystemUsage{{Timestamp: now, FsId: where, UsedBytes: none, InodesUsed: none}},
	}, nil
}
