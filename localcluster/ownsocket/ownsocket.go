// Package ownsocket filters a Unix socket's callers by the kernel's word on who
// they are: the engine's and the holder's sockets answer their own user.
package ownsocket

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Only accepts connections of this process's user, and of root; others are closed.
func Only(l net.Listener) net.Listener { return own{l} }

type own struct{ net.Listener }

func (o own) Accept() (net.Conn, error) {
	for {
		c, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(c); err == nil && (uid == os.Getuid() || uid == 0) {
			return c, nil
		}
		c.Close()
	}
}

func peerUID(c net.Conn) (int, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a Unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, cerr
	}
	return int(cred.Uid), nil
}
