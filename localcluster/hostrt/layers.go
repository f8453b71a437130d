package hostrt

import (
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// layerAge is how old what is known of a layer may be: looking costs a walk.
const layerAge = time.Minute

// layerUse is what a container's writable layer holds.
type layerUse struct {
	bytes, inodes uint64
	at            time.Time
}

// layers knows the writable layers, each looked at now and then in the background.
type layers struct {
	mu   sync.Mutex
	busy bool
	use  map[string]layerUse
}

// of returns what is known of a container's layer, and sees to it that more is
// known the next time.
func (l *layers) of(c *container) layerUse {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.use[c.id]
	if l.busy || time.Since(known.at) < layerAge {
		return known
	}
	l.busy = true
	go func() {
		u := walkLayer(c.dir)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.use == nil {
			l.use = map[string]layerUse{}
		}
		l.use[c.id], l.busy = u, false
	}()
	return known
}

func (l *layers) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.use, id)
}

// walkLayer adds up the blocks below a folder; what goes away meanwhile does not count.
func walkLayer(dir string) layerUse {
	u := layerUse{at: time.Now()}
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			u.bytes += uint64(st.Blocks) * 512
			u.inodes++
		}
		return nil
	})
	return u
}
