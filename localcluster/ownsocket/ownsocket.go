// Package ownsocket is both ends of the engine's and the holder's Unix sockets:
// a filter of callers by the kernel's word on who they are, so that a socket
// answers its own user, and a caller of what is served there.
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
		if cred, err := peer(c); err == nil && (int(cred.Uid) == os.Getuid() || cred.Uid == 0) {
			return c, nil
		}
		c.Close()
	}
}

// peer asks the kernel who is at the other end.
func peer(c net.Conn) (cred *unix.Ucred, err error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("not a Unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	return cred, cerr
}
