package watch

import (
	"os"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// identity names a folder whatever its path is.
type identity struct{ dev, ino uint64 }

// traits are those of one file system that matter here.
type traits struct {
	// events: what others do to it reaches this machine's kernel.
	events bool
	// inodes: a file keeps its number.
	inodes bool
	// caseless: names that differ in case only are one.
	caseless bool
	probed   bool
	tick     time.Duration
	name     string
}

// remote are file systems that others change too, or that live in a process: no
// event tells of what happens there.
var remote = map[uint32]string{
	0x6969: "NFS", 0xff534d42: "SMB", 0xfe534d42: "SMB", 0x517b: "SMB", 0x65735546: "FUSE", 0x01021997: "9p", 0x00c36400: "Ceph",
	0x5346414f: "AFS", 0x6b414653: "AFS", 0x73757245: "Coda", 0x47504653: "GPFS", 0x0bd00bd0: "Lustre", 0x786f4256: "VirtualBox", 0x564c: "NCP", 0xbacbacbc: "VMware",
}

// foreign are those of other systems: caseless, without lasting inode numbers.
var foreign = map[uint32]string{0x4d44: "vfat", 0x2011bab0: "exfat", 0x7366746e: "NTFS", 0x5346544e: "NTFS", 0x482b: "HFS+", 0x4244: "HFS"}

// traitsOf asks what a folder lies on.
func traitsOf(path string) *traits {
	t := &traits{events: true, inodes: true, tick: tick}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return t
	}
	magic := uint32(st.Type)
	if name, ok := remote[magic]; ok {
		t.events, t.inodes, t.name = false, false, name
	}
	if name, ok := foreign[magic]; ok {
		t.inodes, t.caseless, t.tick, t.name = false, true, vfatTick, name
	}
	return t
}

// probe finds out whether names differ by case, once, by a name that is there: a
// file system that is usually exact can be made without.
func (t *traits) probe(dir int, names map[string]bool) {
	if t.probed || t.caseless {
		return
	}
	for name := range names {
		other, ok := swapped(name)
		if !ok || names[other] {
			continue
		}
		var a, b unix.Stat_t
		t.probed = true
		t.caseless = unix.Fstatat(dir, name, &a, unix.AT_SYMLINK_NOFOLLOW) == nil &&
			unix.Fstatat(dir, other, &b, unix.AT_SYMLINK_NOFOLLOW) == nil && a.Dev == b.Dev && a.Ino == b.Ino
		return
	}
}

// listing is the names in a folder as they are written.
func listing(path string) map[string]bool {
	names := map[string]bool{}
	if f, err := os.Open(path); err == nil {
		defer f.Close()
		list, _ := f.Readdirnames(-1) // of a folder that is gone, none
		for _, name := range list {
			names[name] = true
		}
	}
	return names
}

// swapped is a name in the other case; false where it has none.
func swapped(name string) (string, bool) {
	out := []rune(name)
	for i, r := range out {
		if unicode.IsUpper(r) {
			out[i] = unicode.ToLower(r)
		} else {
			out[i] = unicode.ToUpper(r)
		}
	}
	return string(out), string(out) != name
}
