// Package datadir knows where an engine keeps everything: one folder, private
// to its user, with a version for later migrations and a lock, so that one
// engine owns it at a time.
package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Env overrides the default place.
const Env = "STUDIO_DATA_DIR"

// Version of the folder's layout that this program writes.
const Version = 1

// maxRoot leaves room for the longest socket name: the kernel takes 107 bytes.
const maxRoot = 85

// Dir is the absolute path of a data directory.
type Dir string

// Resolve picks the folder: the argument if given, else STUDIO_DATA_DIR, else
// studio below XDG_DATA_HOME, else ~/.local/share/studio. It creates nothing.
func Resolve(flag string) (Dir, error) {
	path := flag
	if path == "" {
		path = os.Getenv(Env)
	}
	if path == "" {
		base := os.Getenv("XDG_DATA_HOME")
		if base == "" || !filepath.IsAbs(base) {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("finding the data directory: %w; set %s", err, Env)
			}
			base = filepath.Join(home, ".local", "share")
		}
		path = filepath.Join(base, "studio")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding the data directory: %w", err)
	}
	if len(path) > maxRoot {
		return "", fmt.Errorf("data directory %s: its path has %d bytes and sockets in it allow %d; set %s to a shorter one", path, len(path), maxRoot, Env)
	}
	return Dir(path), nil
}

func (d Dir) join(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// The places inside; see docs/decisions for what each is for.
func (d Dir) EngineSocket() string   { return d.join("run", "engine.sock") }
func (d Dir) APISocket() string      { return d.join("run", "api.sock") }
func (d Dir) NodeSocket() string     { return d.join("run", "node.sock") }
func (d Dir) HolderSocket() string   { return d.join("run", "holder.sock") }
func (d Dir) CRISocket() string      { return d.join("run", "cri.sock") }
func (d Dir) Run() string            { return d.join("run") }
func (d Dir) PKI() string            { return d.join("pki") }
func (d Dir) DB() string             { return d.join("db") }
func (d Dir) Logs() string           { return d.join("logs") }
func (d Dir) Log(part string) string { return d.join("logs", part+".log") }
func (d Dir) Volumes() string        { return d.join("volumes") }
func (d Dir) Kubeconfig() string     { return d.join("kubeconfig") }
func (d Dir) Network() string        { return d.join("network.json") }
func (d Dir) Ports() string          { return d.join("ports.json") }
func (d Dir) Exposed() string        { return d.join("exposed.json") }
func (d Dir) Node() string           { return d.join("node") }
func (d Dir) NodePKI() string        { return d.join("node", "pki") }
func (d Dir) NodeKubeconfig() string { return d.join("node", "kubeconfig") }
func (d Dir) Kubelet() string        { return d.join("node", "kubelet") }
func (d Dir) Hostrt() string         { return d.join("node", "hostrt") }
func (d Dir) SystemFolders() string  { return d.join("node", "system-folders") }
func (d Dir) PodLogs() string        { return d.join("node", "pods-logs") }
func (d Dir) Projects() string       { return d.join("node", "projects") }
func (d Dir) Home(id string) string  { return d.join("node", "homes", id) }
func (d Dir) Kept() string           { return d.join("node", "kept") }
func (d Dir) Images() string         { return d.join("node", "images") }
func (d Dir) NodeVar() string        { return d.join("node", "var") }
func (d Dir) versionFile() string    { return d.join("version.json") }
func (d Dir) lockFile() string       { return d.join("lock") }
func (d Dir) String() string         { return string(d) }

// Init makes the folder and its parts, 0700, and checks that this program may
// use it: a local file system and a layout it knows.
func (d Dir) Init() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("creating the data directory: %w; set %s to a folder you can write", err, Env)
	}
	if err := refuseNetworkFS(string(d)); err != nil {
		return err
	}
	if err := d.checkVersion(); err != nil {
		return err
	}
	for _, p := range []string{d.Run(), d.PKI(), d.DB(), d.Logs(), d.Volumes(), d.Node(), d.NodePKI(), d.Kubelet(),
		d.Hostrt(), d.PodLogs(), d.Projects(), d.join("node", "homes"), d.Kept(), d.Images(), d.NodeVar()} {
		if err := os.MkdirAll(p, 0o700); err != nil {
			return fmt.Errorf("creating the data directory: %w", err)
		}
	}
	// An older umask or a copied folder must not open it to others.
	if err := os.Chmod(string(d), 0o700); err != nil {
		return fmt.Errorf("protecting the data directory: %w; it belongs to another user: set %s to one of your own", err, Env)
	}
	return nil
}

func (d Dir) checkVersion() error {
	raw, err := os.ReadFile(d.versionFile())
	if errors.Is(err, os.ErrNotExist) {
		return WriteFile(d.versionFile(), []byte(fmt.Sprintf("{\"version\":%d}\n", Version)), 0o600)
	}
	if err != nil {
		return fmt.Errorf("reading the data directory's version: %w", err)
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("data directory %s: version.json is not readable (%w); restore it as {\"version\":%d} if Studio made this folder", d, err, Version)
	}
	if v.Version > Version {
		return fmt.Errorf("data directory %s was written by a newer Studio (layout %d, this one knows %d); update Studio or set %s to another folder", d, v.Version, Version, Env)
	}
	return nil
}

// WriteFile replaces a file so that a crash leaves the old or the new content,
// never a part: temporary file, fsync, rename, fsync of the folder.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// networkFS are file systems on which SQLite's locks and our sockets do not
// hold what they promise. Magic numbers from linux/magic.h and the manual page of statfs.
var networkFS = map[int64]string{
	unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.CIFS_SUPER_MAGIC: "CIFS", unix.SMB2_SUPER_MAGIC: "SMB2",
	unix.AFS_SUPER_MAGIC: "AFS", unix.CODA_SUPER_MAGIC: "Coda", unix.V9FS_MAGIC: "9p", unix.CEPH_SUPER_MAGIC: "Ceph",
}

func refuseNetworkFS(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("looking at the file system of %s: %w", path, err)
	}
	if name, ok := networkFS[int64(st.Type)]; ok {
		return fmt.Errorf("data directory %s lies on a network file system (%s), where a database can be lost; set %s to a folder on a local disk", path, name, Env)
	}
	return nil
}
