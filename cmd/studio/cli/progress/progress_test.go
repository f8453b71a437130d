package progress

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mlstudio/studio/localcluster"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

var events = []localcluster.Event{
	{Time: start, Phase: "store", State: localcluster.Started},
	{Time: start.Add(time.Second), Phase: "store", State: localcluster.Done, Seconds: 0.41},
	{Time: start.Add(time.Second), Phase: "api", State: localcluster.Started},
	{Time: start.Add(2 * time.Second), Phase: "api", State: localcluster.Info, Message: "port 4711"},
	{Time: start.Add(13 * time.Second), Phase: "api", State: localcluster.Done, Seconds: 12.3, Message: "v1.37.2"},
	{Time: start.Add(90 * time.Second), Phase: "node", State: localcluster.Failed, Seconds: 75, Message: "no namespaces"},
}

func TestLinesArePlain(t *testing.T) {
	var out bytes.Buffer
	p := Lines(&out)
	for _, e := range events {
		p.Event(e)
	}
	p.End()
	want := `ok    store              0.4s
      api                      port 4711
ok    api                 12s  v1.37.2
fail  node              1m15s  no namespaces
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestJSONIsOneEventALine(t *testing.T) {
	var out bytes.Buffer
	p := JSON(&out)
	for _, e := range events {
		p.Event(e)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(events) {
		t.Fatalf("%d lines for %d events", len(lines), len(events))
	}
	var e localcluster.Event
	if err := json.Unmarshal([]byte(lines[4]), &e); err != nil || e != events[4] {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestLiveShowsWhatRunsAndLeavesWhatIsDone(t *testing.T) {
	var out bytes.Buffer
	p := Live(&out)
	p.Event(events[0])
	p.Event(events[1])
	p.Event(events[2])
	p.End()
	p.End() // ending twice is harmless
	text := out.String()
	if !strings.Contains(text, "\x1b[32mok\x1b[0m    store              0.4s\n") {
		t.Errorf("the finished phase is not there: %q", text)
	}
	if !strings.Contains(text, "|     api") || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("the live line was not shown or not cleared: %q", text)
	}
}

func TestOnceDropsRepeats(t *testing.T) {
	n := 0
	show := Once(func(localcluster.Event) { n++ })
	for range 2 {
		for _, e := range events {
			show(e)
		}
	}
	if n != len(events) {
		t.Errorf("%d events were shown, want %d", n, len(events))
	}
}

func TestQuietSaysNothing(t *testing.T) {
	p := Quiet()
	p.Event(events[0])
	p.End()
}
