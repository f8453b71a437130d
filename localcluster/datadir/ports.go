package datadir

import (
	"encoding/json"
	"fmt"
	"os"
)

type ports struct {
	API int `json:"api"`
}

// APIPort reads the API server's port on 127.0.0.1. Before the first start the
// error wraps os.ErrNotExist.
func (d Dir) APIPort() (int, error) {
	raw, err := os.ReadFile(d.Ports())
	if err != nil {
		return 0, fmt.Errorf("reading the API server's port: %w", err)
	}
	var p ports
	if err := json.Unmarshal(raw, &p); err != nil || p.API < 1 || p.API > 65535 {
		return 0, fmt.Errorf("reading the API server's port: %s is damaged; remove it to have a new port chosen", d.Ports())
	}
	return p.API, nil
}

// KeepAPIPort remembers the API server's port: kubeconfigs name it.
func (d Dir) KeepAPIPort(port int) error {
	raw, err := json.Marshal(ports{API: port})
	if err != nil {
		return err
	}
	return WriteFile(d.Ports(), append(raw, '\n'), 0o600)
}
