package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
)

// IDs says which user and group numbers a process can give to files.
type IDs struct {
	// Key names the mapping: layers unpacked under another one have other owners.
	Key string
	// Single: there is one number only, so every file becomes root's.
	Single bool
	// InUserNS: devices can not be made.
	InUserNS bool
}

// CurrentIDs are those of this process.
func CurrentIDs() (IDs, error) {
	sum := sha256.New()
	single := false
	for _, f := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		raw, err := os.ReadFile(f)
		if err != nil {
			return IDs{}, err
		}
		var fields [][]string
		for line := range strings.Lines(string(raw)) {
			fields = append(fields, strings.Fields(line))
		}
		if len(fields) == 1 && strings.Join(fields[0], " ") == "0 0 4294967295" {
			continue
		}
		single = single || len(fields) == 1 && len(fields[0]) == 3 && fields[0][2] == "1"
		for _, f := range fields {
			sum.Write([]byte(strings.Join(f, " ") + "\n"))
		}
		sum.Write([]byte{0})
	}
	empty := sha256.Sum256(nil)
	key := hex.EncodeToString(sum.Sum(nil))
	if key == hex.EncodeToString(empty[:]) {
		return IDs{Key: "all"}, nil
	}
	return IDs{Key: key[:12], Single: single, InUserNS: true}, nil
}
