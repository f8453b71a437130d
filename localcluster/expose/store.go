package expose

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/mlstudio/studio/localcluster/datadir"
)

func load(d datadir.Dir) ([]stored, error) {
	raw, err := os.ReadFile(d.Exposed())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is exposed: %w", err)
	}
	var all []stored
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("reading what is exposed: %s: %w; remove the file and expose again", d.Exposed(), err)
	}
	return all, nil
}

// save writes all exposures; the lock is held.
func (m *Manager) save() error {
	all := []stored{}
	for _, x := range m.open {
		all = append(all, x.stored)
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return datadir.WriteFile(m.config.Dir.Exposed(), append(raw, '\n'), 0o600)
}
