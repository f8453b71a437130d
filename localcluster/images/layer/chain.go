package layer

import (
	"crypto/sha256"
	"encoding/hex"
)

// ChainIDs names each layer together with all below it, as the OCI image
// specification does: the same layer on another base may look different.
func ChainIDs(diffIDs []string) []string {
	chain := make([]string, len(diffIDs))
	for i, d := range diffIDs {
		chain[i] = d
		if i > 0 {
			sum := sha256.Sum256([]byte(chain[i-1] + " " + d))
			chain[i] = "sha256:" + hex.EncodeToString(sum[:])
		}
	}
	return chain
}
