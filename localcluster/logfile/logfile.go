// Package logfile opens the rotated log of one part of the engine.
package logfile

import (
	"io"
	"log/slog"

	"gopkg.in/natefinch/lumberjack.v2"
)

// Open returns a logger on the file at path and the writer below it. The file
// is rotated at 10 MB; three old ones are kept, compressed.
func Open(path string, level slog.Level) (*slog.Logger, io.WriteCloser) {
	w := &lumberjack.Logger{Filename: path, MaxSize: 10, MaxBackups: 3, Compress: true}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), w
}
