// Package crilog writes container output as the kubelet reads it: one line a
// record, "time stream tag text", where the tag tells whether the text ends a
// line (F) or the line goes on in the next record (P).
package crilog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxText is how much of a line one record holds.
const maxText = 16 << 10

// Log is one container's log file. It may be reopened while streams are
// copied, after the kubelet has rotated it. The zero path drops everything.
type Log struct {
	path string
	mu   sync.Mutex
	file *os.File
	buf  []byte
}

// Open opens the file for appending and makes it if it is missing.
func Open(path string) (*Log, error) {
	l := &Log{path: path}
	return l, l.Reopen()
}

// Reopen goes on in a new file of the same path.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("opening the container's log: %w", err)
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file = f
	return nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func (l *Log) record(stream string, text []byte, full bool) error {
	tag := byte('P')
	if full {
		tag = 'F'
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	l.buf = time.Now().UTC().AppendFormat(l.buf[:0], time.RFC3339Nano)
	l.buf = append(l.buf, ' ')
	l.buf = append(l.buf, stream...)
	l.buf = append(l.buf, ' ', tag, ' ')
	l.buf = append(l.buf, text...)
	l.buf = append(l.buf, '\n')
	_, err := l.file.Write(l.buf)
	return err
}

// Copy logs a stream ("stdout" or "stderr") until it ends. A write error (a
// full disk) drops output, never blocks the container; the first one is
// returned at the end.
func (l *Log) Copy(stream string, r io.Reader) error {
	br := bufio.NewReaderSize(r, maxText)
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	for {
		line, err := br.ReadSlice('\n')
		switch {
		case err == nil:
			keep(l.record(stream, line[:len(line)-1], true))
		case errors.Is(err, bufio.ErrBufferFull):
			keep(l.record(stream, line, false))
		default:
			// The end. What has no newline stays partial, so that a reader adds none.
			if len(line) > 0 {
				keep(l.record(stream, line, false))
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) && !isHangup(err) {
				keep(err)
			}
			return first
		}
	}
}
