// Package version says which Studio this is. The value comes from
// `git describe` by the linker, so every program of one build reports the same.
package version

// Version is set with -ldflags "-X github.com/mlstudio/studio/version.Version=...".
var Version = "dev"

// Kubernetes is the release of the linked upstream components.
const Kubernetes = "v1.37.2"
