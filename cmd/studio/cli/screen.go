package cli

import (
	"fmt"
	"hash/fnv"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/mlstudio/studio/project/follow"
)

// screen shows the output of containers as it is. Once a second container
// speaks, each line says whose it is.
type screen struct {
	mu      sync.Mutex
	out     io.Writer
	notices func(format string, args ...any)
	colour  bool
	first   *follow.Source
	several bool
	metrics metrics
}

func newScreen(out io.Writer, notices func(string, ...any)) *screen {
	return &screen{out: out, notices: notices, colour: colours(out)}
}

// Line implements follow.Sink.
func (s *screen) Line(from follow.Source, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics.take(string(text))
	if s.first == nil {
		s.first = &from
	}
	s.several = s.several || *s.first != from
	if !s.several {
		fmt.Fprintf(s.out, "%s\n", text)
		return
	}
	start, end := "", ""
	if s.colour {
		h := fnv.New32a()
		h.Write([]byte(from.String()))
		start, end = fmt.Sprintf("\x1b[%dm", 31+h.Sum32()%6), "\x1b[0m"
	}
	fmt.Fprintf(s.out, "%s[%s]%s %s\n", start, from, end, text)
}

// Notice implements follow.Sink.
func (s *screen) Notice(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices("studio: %s", text)
}

// metrics remembers what a run said about itself: the last `name: number` lines,
// and the last line of `name=number` pairs.
type metrics struct {
	names  []string
	values map[string]string
	pairs  string
}

var (
	metricLine = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_ ./@-]{0,39}): (-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?%?)$`)
	pairLine   = regexp.MustCompile(`(?:^|\s)[A-Za-z][\w./-]*=-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?:\s|$)`)
)

// mostMetrics bounds what a summary repeats.
const mostMetrics = 5

func (m *metrics) take(line string) {
	line = strings.TrimSpace(line)
	if found := metricLine.FindStringSubmatch(line); found != nil {
		if m.values == nil {
			m.values = map[string]string{}
		}
		m.names = append(slices.DeleteFunc(m.names, func(n string) bool { return n == found[1] }), found[1])
		m.values[found[1]] = found[2]
		if len(m.names) > mostMetrics {
			delete(m.values, m.names[0])
			m.names = m.names[1:]
		}
	} else if len(line) < 200 && pairLine.MatchString(line) {
		m.pairs = line
	}
}

// lines are what the summary shows.
func (m *metrics) lines() []string {
	var out []string
	for _, n := range m.names {
		out = append(out, n+": "+m.values[n])
	}
	if len(out) == 0 && m.pairs != "" {
		out = append(out, m.pairs)
	}
	return out
}
