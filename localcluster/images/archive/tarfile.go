package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// tarFile is the files of a tar archive, found once and read in place.
type tarFile struct {
	f     *os.File
	parts map[string]part
}

type part struct {
	at, size int64
	// link is the path of the part that this one stands for.
	link string
}

// index notes where each file of an archive lies.
func index(f *os.File) (*Archive, error) {
	t := tarFile{f: f, parts: map[string]part{}}
	// The reader takes whole blocks and skips by seeking: behind each header the
	// file stands at the content.
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("it is no tar archive, or a damaged one: %w", err)
		}
		name := clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				f.Close()
				return nil, err
			}
			t.parts[name] = part{at: at, size: h.Size}
		case tar.TypeLink:
			t.parts[name] = part{link: clean(h.Linkname)}
		case tar.TypeSymlink:
			t.parts[name] = part{link: clean(path.Join(path.Dir(name), h.Linkname))}
		}
	}
	return &Archive{files: t, close: f.Close}, nil
}

func clean(name string) string { return path.Clean("/" + name)[1:] }

// maxLinks is how many links a part may lead through.
const maxLinks = 10

func (t tarFile) open(name string) (io.ReadCloser, int64, error) {
	name = clean(name)
	for range maxLinks {
		p, ok := t.parts[name]
		if !ok {
			break
		}
		if p.link == "" {
			return io.NopCloser(io.NewSectionReader(t.f, p.at, p.size)), p.size, nil
		}
		name = p.link
	}
	return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
