package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mlstudio/studio/localcluster/datadir"
	holderclient "github.com/mlstudio/studio/localcluster/holder/client"
)

// BootIDEnv lets a test stand in for a reboot.
const BootIDEnv = "STUDIO_BOOT_ID"

func bootID() ([]byte, error) {
	if id := os.Getenv(BootIDEnv); id != "" {
		return []byte(id), nil
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("reading the boot id: %w", err)
	}
	return bytes.TrimSpace(id), nil
}

// forgetEarlierBoot drops what an earlier boot of this machine left: sockets,
// and the holder, where a test only says that there was another boot.
func (e *engine) forgetEarlierBoot(ctx context.Context) error {
	id, err := bootID()
	if err != nil {
		return err
	}
	path := filepath.Join(e.dir.String(), "boot_id")
	before, err := os.ReadFile(path)
	if err == nil && bytes.Equal(bytes.TrimSpace(before), id) {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the boot id of the last start: %w", err)
	}
	if err == nil {
		e.log.Info("this machine was booted since the last start")
		// Only a test's other boot finds a holder alive.
		if err := e.holder.Kill(ctx); err != nil && !errors.Is(err, holderclient.ErrNotRunning) {
			return fmt.Errorf("ending the node of an earlier boot: %w", err)
		}
		sockets, _ := filepath.Glob(filepath.Join(e.dir.Run(), "*.sock"))
		for _, s := range sockets {
			if s == e.dir.EngineSocket() {
				continue
			}
			if err := os.Remove(s); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("removing what an earlier boot left: %w", err)
			}
		}
	}
	return datadir.WriteFile(path, append(id, '\n'), 0o600)
}
