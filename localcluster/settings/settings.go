// Package settings remembers what a person chose for a data directory: the
// engine and the command line read the same file.
package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// Name of the file in the data directory.
const Name = "settings.json"

// Settings are all choices. The zero value is what holds without any.
type Settings struct {
	// LetSleep lets the machine sleep while jobs run.
	LetSleep bool `json:"letSleep,omitempty"`
	// AskedAtLogin: whether to start at log-in was asked, and answered.
	AskedAtLogin bool `json:"askedAtLogin,omitempty"`
}

// Load reads the file; without one it returns the zero value.
func Load(d datadir.Dir) (s Settings, err error) {
	path := filepath.Join(d.String(), Name)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the settings in %s: %w; remove the file to start anew", path, err)
	}
	return s, nil
}

// Change reads, changes and writes the file.
func Change(d datadir.Dir, change func(*Settings)) error {
	s, err := Load(d)
	if err != nil {
		return err
	}
	change(&s)
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return datadir.WriteFile(filepath.Join(d.String(), Name), append(raw, '\n'), 0o600)
}
