package images

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// Mode says where containers' root file systems come from.
type Mode string

// Auto: an image of the store, else the host stands in. OCI: images of the store
// and of registries alone. Host: always the host.
const (
	Auto Mode = "auto"
	OCI  Mode = "oci"
	Host Mode = "host"
)

// Modes lists all of them, the default first.
var Modes = []Mode{Auto, OCI, Host}

// ParseMode checks what a person wrote.
func ParseMode(text string) (Mode, error) {
	m := Mode(text)
	if slices.Contains(Modes, m) {
		return m, nil
	}
	var names []string
	for _, m := range Modes {
		names = append(names, string(m))
	}
	return "", fmt.Errorf("images %q: want one of %s", text, strings.Join(names, ", "))
}

type modeRecord struct {
	Mode Mode `json:"mode"`
}

func (s *Store) modeFile() string { return filepath.Join(s.dir, "mode.json") }

// Mode is what SetMode said last, in this process or another; Auto at first.
func (s *Store) Mode() (Mode, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.mode.get(s.modeFile(), parseMode)
	if err != nil {
		return "", fmt.Errorf("finding out which images to use: %w; `studio up --images=auto` writes it anew", err)
	}
	if m == "" {
		m = Auto
	}
	return m, nil
}

func parseMode(raw []byte) (Mode, error) {
	var r modeRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return "", err
	}
	return ParseMode(string(r.Mode))
}

// ModeOf is the mode of the store in a folder, which need not be there.
func ModeOf(dir string) (Mode, error) { return (&Store{dir: dir}).Mode() }

// SetMode takes effect with the next container, also of a node that runs.
func (s *Store) SetMode(m Mode) error {
	raw, err := json.Marshal(modeRecord{m})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return datadir.WriteFile(s.modeFile(), append(raw, '\n'), 0o600)
}
