// Package registry fetches images from registries.
package registry

import (
	"context"
	"fmt"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/mlstudio/studio/version"
)

// Credentials for one registry, in the forms in which Kubernetes hands them on.
type Credentials = authn.AuthConfig

// Image finds an image for this platform by its normalized name. Its layers are
// fetched when they are read. Without credentials those of the user's own
// configuration count.
func Image(ctx context.Context, image string, c Credentials) (v1.Image, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, err
	}
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithUserAgent("studio/" + version.Version),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
	}
	if c == (Credentials{}) {
		options = append(options, remote.WithAuthFromKeychain(authn.DefaultKeychain))
	} else {
		options = append(options, remote.WithAuth(authn.FromConfig(c)))
	}
	img, err := remote.Image(ref, options...)
	if err != nil {
		return nil, fmt.Errorf("failed to resolve reference %q: %w", image, err)
	}
	return img, nil
}
