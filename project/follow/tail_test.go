package follow

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// node serves the log endpoint of one container from what it has written so far,
// and breaks connections wherever it likes, also within a line.
type node struct {
	mu      sync.Mutex
	starts  map[string][]string // id of a start -> its lines with their times
	now     string
	before  string
	ended   bool
	changed chan struct{}
	breaks  bool
	asked   int
}

func newNode(breaks bool) *node {
	return &node{starts: map[string][]string{}, changed: make(chan struct{}), breaks: breaks}
}

func (n *node) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *node) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func (n *node) write(at time.Time, text string) {
	n.change(func() {
		n.starts[n.now] = append(n.starts[n.now], at.UTC().Format(time.RFC3339Nano)+" "+text+"\n")
	})
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n.mu.Lock()
	id := n.now
	if q.Get("previous") == "true" {
		id = n.before
	}
	n.asked++
	n.mu.Unlock()
	since, _ := time.Parse(time.RFC3339, q.Get("sinceTime"))
	for i := 0; ; {
		n.mu.Lock()
		lines, over, changed, breaks := n.starts[id], id != n.now || n.ended, n.changed, n.breaks
		n.mu.Unlock()
		var out bytes.Buffer
		for ; i < len(lines); i++ {
			stamp, _, _ := strings.Cut(lines[i], " ")
			if at, _ := time.Parse(time.RFC3339Nano, stamp); !at.Before(since) {
				out.WriteString(lines[i])
			}
		}
		text := out.Bytes()
		if breaks && len(text) > 0 && rand.IntN(3) == 0 {
			w.Write(text[:rand.IntN(len(text))])
			w.(http.Flusher).Flush()
			if rand.IntN(2) == 0 {
				panic(http.ErrAbortHandler) // as a killed server does
			}
			return // as a server does whose node was killed: a clean end within a line
		}
		w.Write(text)
		w.(http.Flusher).Flush()
		if over || q.Get("follow") != "true" {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// watchTail runs a tail against the node and collects what it passes on.
func watchTail(t *testing.T, n *node) (tl *tail, lines func() []string) {
	t.Helper()
	srv := httptest.NewServer(n)
	t.Cleanup(srv.Close)
	core, err := corev1client.NewForConfig(&rest.Config{Host: srv.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []string
	line := func(_ Source, text []byte) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(text))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	tl = newTail(core.Pods("default"), Source{"p", "c"}, &link{notice: func(string) {}}, line, func(text string) { t.Log(text) })
	go tl.run(ctx)
	return tl, func() []string {
		select {
		case <-tl.done:
		case <-ctx.Done():
			t.Fatal("the tail did not come to its end")
		}
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func TestNoLineIsLostOrDoubledOverBrokenConnections(t *testing.T) {
	n := newNode(true)
	n.now = "one"
	tl, lines := watchTail(t, n)
	tl.see(instance{id: "one"})
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var want []string
	for i := 0; i < 300 || n.connections() < 8; i++ {
		if i%3 != 0 { // several lines of one time
			at = at.Add(7 * time.Millisecond)
		}
		text := fmt.Sprintf("line %d", i)
		if i%10 == 0 {
			text = "the same" // equal lines are no doubles
		}
		want = append(want, text)
		n.write(at, text)
		if i%5 == 0 {
			time.Sleep(time.Millisecond) // lets readers and breaks fall between the lines
		}
	}
	n.change(func() { n.ended, n.breaks = true, false })
	tl.see(instance{id: "one", ended: true, final: true})
	if got := lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %d lines, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
}

func TestAllStartsOfAContainerAreRead(t *testing.T) {
	n := newNode(false)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	next := func() time.Time { at = at.Add(time.Millisecond); return at }
	n.now = "one"
	tl, lines := watchTail(t, n)
	tl.see(instance{id: "one"})
	n.write(next(), "1a")
	n.write(next(), "1b")
	// It restarts; the status tells only of the second start.
	n.change(func() { n.before, n.now = "one", "two" })
	n.write(next(), "2a")
	tl.see(instance{id: "two", before: "one"})
	n.write(next(), "2b")
	n.change(func() { n.ended = true })
	tl.see(instance{id: "two", ended: true, before: "one", final: true})
	if got, want := strings.Join(lines(), " "), "1a 1b 2a 2b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAPieceWithoutAnEndIsTheLastLine(t *testing.T) {
	n := newNode(false)
	n.now, n.ended = "one", true
	n.starts["one"] = []string{"2026-01-01T00:00:00.5Z whole\n", "2026-01-01T00:00:00.6Z no end"}
	tl, lines := watchTail(t, n)
	tl.see(instance{id: "one", ended: true, final: true})
	if got, want := strings.Join(lines(), "|"), "whole|no end"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestATailWithoutAStartEndsWithItsObject(t *testing.T) {
	tl, lines := watchTail(t, newNode(false))
	tl.see(instance{})
	tl.end(false)
	if got := lines(); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestTheNodesOwnWordsAreNoOutput(t *testing.T) {
	n := newNode(false)
	n.now, n.ended = "one", true
	n.starts["one"] = []string{"unable to retrieve container logs for hostrt://one\n"}
	tl, lines := watchTail(t, n)
	tl.see(instance{id: "one", ended: true, final: true})
	if got := lines(); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
