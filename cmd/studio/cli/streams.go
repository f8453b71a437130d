package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are where a command reads and writes, so that tests use buffers.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// terminal tells whether a stream is a person's screen or keyboard.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// asks tells whether a question can be put to a person.
func (s Streams) asks() bool { return terminal(s.In) && terminal(s.Err) && os.Getenv("CI") == "" }

// colours tells whether a stream shows colours and takes cursor movements.
func colours(w io.Writer) bool {
	return terminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
