// Package logind runs a message bus of its own with a service on it that hands
// out locks against sleep as systemd's logind does: a lock is held until its
// descriptor is closed.
package logind

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// Service is the running service.
type Service struct {
	// Address of the bus, for DBUS_SYSTEM_BUS_ADDRESS.
	Address string

	mu   sync.Mutex
	held []string
}

// Held lists the locks that are held now, as "what: why".
func (s *Service) Held() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.held...)
}

// manager is the object on the bus.
type manager struct{ s *Service }

// Inhibit is the method that clients call.
func (m manager) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	if mode != "block" || who == "" {
		return 0, dbus.MakeFailedError(fmt.Errorf("mode %q of %q", mode, who))
	}
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	lock := what + ": " + why
	m.s.mu.Lock()
	m.s.held = append(m.s.held, lock)
	m.s.mu.Unlock()
	go func() {
		// The end of the pipe is the end of the lock.
		own := os.NewFile(uintptr(ends[0]), "lock")
		defer own.Close()
		_, _ = own.Read(make([]byte, 1))
		m.s.mu.Lock()
		defer m.s.mu.Unlock()
		for i, h := range m.s.held {
			if h == lock {
				m.s.held = append(m.s.held[:i], m.s.held[i+1:]...)
				break
			}
		}
	}()
	// The bus has its own copy once the answer is sent, which nothing here tells.
	time.AfterFunc(200*time.Millisecond, func() { syscall.Close(ends[1]) })
	return dbus.UnixFD(ends[1]), nil
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow eavesdrop="false"/><allow receive_sender="*"/>
  </policy>
</busconfig>
`

// Start starts both; they end with the test. Without dbus-daemon the test is skipped.
func Start(t *testing.T) *Service {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("SKIPPED: this needs dbus-daemon (package dbus)")
	}
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(busConfig, socket)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config-file="+config, "--print-address", "--nofork", "--nopidfile")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("dbus-daemon gave no address: %v", err)
	}
	s := &Service{Address: strings.TrimSpace(line)}
	conn, err := dbus.Connect(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Export(manager{s}, "/org/freedesktop/login1", "org.freedesktop.login1.Manager"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.login1", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return s
}
