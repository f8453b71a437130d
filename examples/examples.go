// Package examples carries the example projects, so that `studio init` can start
// a new project from one of them anywhere.
package examples

import "embed"

// Files holds one folder an example.
//
//go:embed digits notebook pytorch-ddp
var Files embed.FS
