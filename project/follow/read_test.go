package follow

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

type collect struct{ lines []string }

func (c *collect) Line(from Source, text []byte) {
	c.lines = append(c.lines, from.Pod+":"+string(text))
}
func (c *collect) Notice(string) {}

func readingOf(pod string, starts ...string) *reading {
	r := &reading{from: Source{Pod: pod}}
	for _, s := range starts {
		r.bodies = append(r.bodies, io.NopCloser(strings.NewReader(s)))
		r.starts = append(r.starts, bufio.NewReader(strings.NewReader(s)))
	}
	return r
}

func TestMergeOrdersByTime(t *testing.T) {
	open := []*reading{
		readingOf("a", "2026-01-01T00:00:01Z one\n2026-01-01T00:00:03Z three\n", "2026-01-01T00:00:05Z five"),
		readingOf("b", "unable to retrieve container logs for x", "2026-01-01T00:00:02Z two\n2026-01-01T00:00:04Z \n"),
		readingOf("c"),
	}
	for _, r := range open {
		if err := r.next(); err != nil {
			t.Fatal(err)
		}
	}
	got := &collect{}
	if err := merge(open, got); err != nil {
		t.Fatal(err)
	}
	if s, want := strings.Join(got.lines, " "), "a:one b:two a:three b: a:five"; s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}
