package holder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// apiPatience is how long a connection to the API server waits for one that is
// starting. It is below the 10 s that Go's clients give a TLS handshake: so
// the kubelet's first request, sent while the API server starts, is answered
// the moment it serves, instead of being refused and tried again after a pause.
const apiPatience = 9 * time.Second

// dialWhenServed connects to a Unix socket, and waits while nobody serves it.
func dialWhenServed(ctx context.Context, socket string, patience time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if !notServed(err) {
		return conn, err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("waiting for the API server: %w", err)
	}
	defer watcher.Close()
	if err := watcher.Add(filepath.Dir(socket)); err != nil {
		return nil, fmt.Errorf("waiting for the API server: %w", err)
	}
	for {
		// Tried before each wait: the socket may have come before the watch.
		conn, err := d.DialContext(ctx, "unix", socket)
		if !notServed(err) {
			return conn, err
		}
		if err := created(ctx, watcher, socket); err != nil {
			return nil, fmt.Errorf("waiting for the API server: %w", err)
		}
	}
}

// notServed: the socket is missing, or left by a process that is gone.
func notServed(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}

// created returns when a file has appeared, or changed its mode, at path: a
// socket exists a moment before somebody listens on it.
func created(ctx context.Context, w *fsnotify.Watcher, path string) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.Errors:
			return err
		case ev := <-w.Events:
			if ev.Name == path && (ev.Has(fsnotify.Create) || ev.Has(fsnotify.Chmod)) {
				return nil
			}
		}
	}
}
