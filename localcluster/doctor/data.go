package doctor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/engine/client"
)

// existing is the nearest folder upwards that is there: where the data directory
// is, or will be made.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == "/" {
			return path
		}
		path = filepath.Dir(path)
	}
}

func dataDir(_ context.Context, m machine) verdict {
	at := existing(m.dir.String())
	info, err := os.Stat(at)
	if err != nil {
		return broken(err.Error(), "set "+datadir.Env+" to a folder of your own")
	}
	if !info.IsDir() {
		return broken(at+" is a file", "remove it, or set "+datadir.Env+" to a folder")
	}
	if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
		return broken(fmt.Sprintf("%s can not be written: %v", at, err), "set "+datadir.Env+" to a folder of your own")
	}
	if at != m.dir.String() {
		return ok(m.dir.String() + " will be made")
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != m.uid {
		return broken(fmt.Sprintf("%s belongs to user %d, you are %d", at, owner, m.uid), "set "+datadir.Env+" to a folder of your own")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return warning(fmt.Sprintf("%s can be read by others (%v)", at, info.Mode().Perm()), "chmod 700 "+at)
	}
	return ok(at)
}

// remote are kinds of file systems over which locks and sockets do not hold.
var remote = []string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "coda", "glusterfs", "lustre", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph-fuse"}

func fileSystem(_ context.Context, m machine) verdict {
	at := existing(m.dir.String())
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(at))
	if err != nil || len(mounts) == 0 {
		return info("the mount of "+at+" was not found", "")
	}
	nearest := mounts[0]
	for _, mount := range mounts {
		if len(mount.Mountpoint) >= len(nearest.Mountpoint) { // the later of two at one place is on top
			nearest = mount
		}
	}
	for _, kind := range remote {
		if nearest.FSType == kind {
			return broken(fmt.Sprintf("%s lies on a network file system (%s), where a database can be lost", at, kind), "set "+datadir.Env+" to a folder on a local disk")
		}
	}
	if nearest.FSType == "tmpfs" || nearest.FSType == "ramfs" {
		return warning(at+" lies in memory ("+nearest.FSType+") and is gone after a restart", "set "+datadir.Env+" to a folder on a disk")
	}
	return ok(nearest.FSType)
}

// Below little the platform runs into errors soon; below none it does not start.
const (
	littleDisk = 2 << 30
	noDisk     = 200 << 20
	noInodes   = 2000
)

func disk(_ context.Context, m machine) verdict {
	at := existing(m.dir.String())
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return info(fmt.Sprintf("the space of %s is not known: %v", at, err), "")
	}
	return space(at, st.Bavail*uint64(st.Bsize), st.Files, st.Ffree)
}

func space(at string, free, files, filesFree uint64) verdict {
	cure := fmt.Sprintf("make room on the disk of %s (`du -xh --max-depth=2 %s | sort -h | tail` shows what is big), or set %s to another disk", at, at, datadir.Env)
	// A file system without a fixed number of files reports none.
	if files > 0 && filesFree < noInodes {
		return broken(fmt.Sprintf("the disk of %s takes only %d more files", at, filesFree), cure)
	}
	said := fmt.Sprintf("%.1f GB are free for %s", float64(free)/1e9, at)
	switch {
	case free < noDisk:
		return broken("only "+said, cure)
	case free < littleDisk:
		return warning("only "+said, cure)
	}
	return ok(said)
}

// lock tells a running engine from a folder that something else holds.
func lock(ctx context.Context, m machine) verdict {
	if state, err := client.New(m.dir).State(ctx); err == nil {
		return ok(fmt.Sprintf("the engine runs (process %d)", state.PID))
	}
	f, err := os.Open(filepath.Join(m.dir.String(), "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return ok("no engine runs")
	}
	if err != nil {
		return broken(fmt.Sprintf("the lock of %s can not be opened: %v", m.dir, err), "set "+datadir.Env+" to a folder of your own")
	}
	defer f.Close()
	// An engine that was killed a moment ago lets go while this waits.
	ctx, cancel := context.WithTimeout(ctx, datadir.Dying)
	defer cancel()
	if err := m.dir.WaitUnlocked(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return ok("no engine runs")
	}
	owner, _ := io.ReadAll(io.LimitReader(f, 32))
	pid := strings.TrimSpace(string(owner))
	return broken(fmt.Sprintf("process %s holds %s but does not answer as an engine", pid, m.dir), "wait a moment if it just starts or ends; else: kill "+pid)
}

func port(ctx context.Context, m machine) verdict {
	number, err := m.dir.APIPort()
	if errors.Is(err, fs.ErrNotExist) {
		return ok("chosen at the first start")
	}
	if err != nil {
		return broken(err.Error(), "rm "+m.dir.Ports())
	}
	if _, err := client.New(m.dir).State(ctx); err == nil {
		return ok(fmt.Sprintf("%d, in use by the engine", number))
	}
	err = m.dir.AwaitPort(ctx, number)
	if errors.Is(err, datadir.ErrPortTaken) {
		return broken(fmt.Sprintf("port %d is taken by another program", number),
			fmt.Sprintf("end that program (`ss -ltnp sport = :%d` names it), or `rm %s` to have another port chosen", number, m.dir.Ports()))
	}
	if err != nil {
		return broken(fmt.Sprintf("port %d can not be listened on: %v", number, err), "rm "+m.dir.Ports())
	}
	return ok(fmt.Sprintf("%d is free", number))
}

// sqliteMagic starts every SQLite database.
var sqliteMagic = []byte("SQLite format 3\x00")

// database looks at the file's head and size. All of it is checked by the
// engine at each start, which keeps a damaged file aside.
func database(_ context.Context, m machine) verdict {
	path := filepath.Join(m.dir.DB(), "state.db")
	aside, _ := filepath.Glob(path + ".damaged-*")
	if len(aside) > 0 {
		newest := aside[len(aside)-1]
		for i := len(aside) - 1; i > 0 && (strings.HasSuffix(newest, "-wal") || strings.HasSuffix(newest, "-shm")); i-- {
			newest = aside[i-1]
		}
		return info("an earlier database was damaged and is kept as "+newest,
			fmt.Sprintf("to look into it: sqlite3 %s .recover; remove it when you do not need it", newest))
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ok("made at the first start")
	}
	if err != nil {
		return broken(err.Error(), "set "+datadir.Env+" to a folder of your own")
	}
	defer f.Close()
	head := make([]byte, 100)
	n, err := io.ReadFull(f, head)
	if n == 0 {
		return ok("empty")
	}
	if err != nil || !bytes.HasPrefix(head, sqliteMagic) {
		return broken(path+" is not a database any more", "run `studio up`: it keeps the file aside and says how to repair it; the next `up` starts empty")
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return broken(err.Error(), "look at the disk: dmesg | tail")
	}
	page := int64(binary.BigEndian.Uint16(head[16:]))
	if page == 1 {
		page = 65536
	}
	if page < 512 || size%page != 0 {
		return broken(fmt.Sprintf("%s has been cut: %d bytes are not whole pages of %d", path, size, page), "run `studio up`: it keeps the file aside and says how to repair it; the next `up` starts empty")
	}
	return ok(fmt.Sprintf("%.1f MB", float64(size)/1e6))
}
