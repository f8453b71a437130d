package hostrt

import (
	"context"
	"fmt"

	rt "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/mlstudio/studio/localcluster/images"
	"github.com/mlstudio/studio/localcluster/images/registry"
)

// pull fetches an image by the node's own way out. The kubelet's words come
// first, as with other runtimes.
func (s *Server) pull(ctx context.Context, name string, auth *rt.AuthConfig) (*images.Image, error) {
	credentials := registry.Credentials{
		Username: auth.GetUsername(), Password: auth.GetPassword(), Auth: auth.GetAuth(),
		IdentityToken: auth.GetIdentityToken(), RegistryToken: auth.GetRegistryToken(),
	}
	// Pods that start together fetch it once, as far as they show the same credentials.
	added, err, _ := s.pulls.Do(fmt.Sprintf("%s %q", name, credentials), func() (any, error) {
		img, err := registry.Image(ctx, name, credentials)
		if err != nil {
			return nil, err
		}
		return s.cfg.Images.Add(ctx, img, images.Adding{Names: []string{name}})
	})
	if err != nil {
		return nil, fmt.Errorf("failed to pull and unpack image %q: %w", name, err)
	}
	return added.(*images.Image), nil
}
