package images

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Normalize completes a name as the kubelet and containerd do: docker.io/library
// before a bare one, :latest behind one without tag and digest.
func Normalize(name string) (string, error) {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	return ref.String(), nil
}

// Familiar is the short form of a normalized name, for people.
func Familiar(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(ref)
}

// Repository is a name without tag and digest.
func Repository(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return ref.Name()
}

// isID tells whether a text is an image's ID or the beginning of one, as people
// and the kubelet write it, and returns its digits.
func isID(text string) (hex string, ok bool) {
	hex = strings.TrimPrefix(text, "sha256:")
	if len(hex) < minID || len(hex) > 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", false
	}
	return hex, true
}

// minID is how many digits of an ID must be given.
const minID = 8
