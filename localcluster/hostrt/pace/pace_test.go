package pace

import (
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	var s Samples
	start := time.Unix(1000, 0)
	at := func(seconds float64, cpu time.Duration) float64 {
		return float64(s.Of("c", start, start.Add(time.Duration(seconds*float64(time.Second))), uint64(cpu))) / 1e9
	}
	for _, c := range []struct {
		seconds float64
		cpu     time.Duration
		want    float64
	}{
		{0, 0, 0},
		// A young container: since its start.
		{1, time.Second, 1},
		{10, 10 * time.Second, 1},
		// A second look at once does not look at a moment of noise.
		{10.1, 10 * time.Second, 10 / 10.1},
		// It went idle.
		{20, 10 * time.Second, 0},
		{30, 10 * time.Second, 0},
		{40, 12 * time.Second, 0.2},
		// A sum of processes can shrink when one of them ends.
		{50, 11 * time.Second, 0},
	} {
		if got := at(c.seconds, c.cpu); got < c.want-0.01 || got > c.want+0.01 {
			t.Errorf("after %v s, with %v used: %.3f, want %.3f", c.seconds, c.cpu, got, c.want)
		}
	}
	s.Forget("c")
	if got := at(100, 50*time.Second); got < 0.49 || got > 0.51 {
		t.Errorf("forgotten and seen again: %.3f", got)
	}
}
