// Package assets holds what Studio installs into a cluster: CRDs, shipped
// runtimes, roles and admission policies.
package assets

import "embed"

//go:generate go run ./generate ..

// CRDs are generated from Go types, one file each.
//
//go:embed crds/*.yaml
var CRDs embed.FS

// Train holds the default objects of the training pillar.
//
//go:embed train/*.yaml
var Train embed.FS

// Platform holds the objects that belong to no pillar.
//
//go:embed platform/*.yaml
var Platform embed.FS
