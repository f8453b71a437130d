package follow

import (
	"bytes"
	"time"
)

// cursor knows which lines of a container have been passed on. Each line carries
// the nanosecond at which the runtime took it; of lines with the same time the
// number passed on counts.
type cursor struct {
	at   time.Time
	same int
}

// pass is one reading of the log from the cursor's second on.
type pass struct {
	c    *cursor
	from time.Time
	skip int
}

// begin starts a reading.
func (c *cursor) begin() *pass { return &pass{c: c, from: c.at, skip: c.same} }

// take splits a raw line into its time and text and tells whether it is new. One
// without a time is the rest of a long line that began before the reading did.
func (p *pass) take(raw []byte) (text []byte, fresh bool) {
	stamp, text, found := bytes.Cut(raw, []byte{' '})
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return nil, false
	}
	if !found {
		text = nil
	}
	switch {
	case at.Before(p.from):
		return nil, false
	case at.Equal(p.from) && p.skip > 0:
		p.skip--
		return nil, false
	}
	if at.After(p.c.at) {
		p.c.at, p.c.same = at, 0
	}
	p.c.same++
	return text, true
}

// nodeError is what a node writes into the stream in place of output.
type nodeError string

func (e nodeError) Error() string { return string(e) }

// refusal tells the node's words from output, which always carries a time.
func refusal(raw []byte) error {
	for _, start := range []string{"unable to retrieve container logs", "failed to try resolving symlinks", "rpc error:"} {
		if bytes.HasPrefix(raw, []byte(start)) {
			return nodeError(bytes.TrimSpace(raw))
		}
	}
	return nil
}
