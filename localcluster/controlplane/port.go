package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/mlstudio/studio/localcluster/datadir"
)

// EnsurePort returns the API server's port on 127.0.0.1: chosen by the kernel
// once, then kept, because kubeconfigs name it. A kept port that another
// program took is an error with the way out.
func EnsurePort(ctx context.Context, d datadir.Dir) (int, error) {
	port, err := d.APIPort()
	if err == nil {
		return port, checkPort(ctx, d, port)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("choosing the API server's port: %w", err)
	}
	defer l.Close()
	port = l.Addr().(*net.TCPAddr).Port
	return port, d.KeepAPIPort(port)
}

// checkPort says whether the port can be listened on, and if not, why.
func checkPort(ctx context.Context, d datadir.Dir, port int) error {
	err := datadir.PortFree(ctx, port)
	if errors.Is(err, datadir.ErrPortTaken) {
		return fmt.Errorf("port %d of this machine, which the API server uses, is taken by another program; end that program (`ss -ltnp sport = :%d` names it), or remove %s to have a new port chosen (merge kubeconfigs again then)", port, port, d.Ports())
	}
	if err != nil {
		return fmt.Errorf("listening on port %d: %w", port, err)
	}
	return nil
}
