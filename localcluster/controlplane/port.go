package controlplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/mlstudio/studio/localcluster/datadir"
)

type ports struct {
	API int `json:"api"`
}

// EnsurePort returns the API server's port on 127.0.0.1: chosen by the kernel
// once, then kept, because kubeconfigs name it. A kept port that another
// program took is an error with the way out.
func EnsurePort(d datadir.Dir) (int, error) {
	raw, err := os.ReadFile(d.Ports())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("reading the API server's port: %w", err)
	}
	if err == nil {
		var p ports
		if err := json.Unmarshal(raw, &p); err != nil || p.API < 1 || p.API > 65535 {
			return 0, fmt.Errorf("reading the API server's port: %s is damaged; remove it to have a new port chosen", d.Ports())
		}
		return p.API, CheckPort(d, p.API)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("choosing the API server's port: %w", err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	raw, err = json.Marshal(ports{API: port})
	if err != nil {
		return 0, err
	}
	return port, datadir.WriteFile(d.Ports(), append(raw, '\n'), 0o600)
}

// CheckPort says whether the port can be listened on now.
func CheckPort(d datadir.Dir, port int) error {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d of this machine, which the API server uses, is taken by another program; end that program (`ss -ltnp sport = :%d` names it), or remove %s to have a new port chosen (merge kubeconfigs again then)", port, port, d.Ports())
	}
	if err != nil {
		return fmt.Errorf("listening on port %d: %w", port, err)
	}
	return l.Close()
}
