// Package guide holds the pages of the user's guide. A test runs what they tell
// the reader to type.
package guide

import "embed"

// Pages are the guide's files.
//
//go:embed *.md
var Pages embed.FS
