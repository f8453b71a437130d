package hostrt

import (
	"context"
	"fmt"
	"time"

	"github.com/distribution/reference"
	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/version"
)

const runtimeName = "hostrt"

func runtimeVersion() string { return version.Version }

// imageID is how an image that the machine stands in for is called.
func imageID(name string) string {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return name
	}
	return "host:" + ref.String()
}

// ImageStatus implements the CRI: the machine is every image with a well formed name.
func (s *Server) ImageStatus(_ context.Context, r *rt.ImageStatusRequest) (*rt.ImageStatusResponse, error) {
	name := r.GetImage().GetImage()
	ref, err := reference.ParseDockerRef(trimHost(name))
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	image := &rt.Image{Id: imageID(ref.String()), RepoTags: []string{ref.String()}, Size: 1, Uid: &rt.Int64Value{Value: 0}, Spec: &rt.ImageSpec{Image: name}, Pinned: true}
	return &rt.ImageStatusResponse{Image: image}, nil
}

func trimHost(name string) string {
	const prefix = "host:"
	if len(name) > len(prefix) && name[:len(prefix)] == prefix {
		return name[len(prefix):]
	}
	return name
}

// PullImage implements the CRI: nothing is fetched, as the machine stands in.
func (s *Server) PullImage(_ context.Context, r *rt.PullImageRequest) (*rt.PullImageResponse, error) {
	name := r.GetImage().GetImage()
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	return &rt.PullImageResponse{ImageRef: imageID(ref.String())}, nil
}

// ListImages implements the CRI: no image takes space that could be freed.
func (s *Server) ListImages(context.Context, *rt.ListImagesRequest) (*rt.ListImagesResponse, error) {
	return &rt.ListImagesResponse{}, nil
}

// RemoveImage implements the CRI.
func (s *Server) RemoveImage(context.Context, *rt.RemoveImageRequest) (*rt.RemoveImageResponse, error) {
	return &rt.RemoveImageResponse{}, nil
}

// ImageFsInfo implements the CRI: containers write below the state folder.
func (s *Server) ImageFsInfo(context.Context, *rt.ImageFsInfoRequest) (*rt.ImageFsInfoResponse, error) {
	// The kubelet looks the path up by itself, so a folder that both see will do.
	fs := []*rt.FilesystemUsage{{
		Timestamp: time.Now().UnixNano(), FsId: &rt.FilesystemIdentifier{Mountpoint: s.cfg.StateDir},
		UsedBytes: &rt.UInt64Value{}, InodesUsed: &rt.UInt64Value{},
	}}
	return &rt.ImageFsInfoResponse{ImageFilesystems: fs, ContainerFilesystems: fs}, nil
}
