package follow

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// toldOtherwise are reasons of events that repeat what is shown anyway: why a pod
// is not placed yet, if it lasts, and how the run ended.
var toldOtherwise = []string{"FailedScheduling", "PodFailurePolicy", "FailedJobs", "BackoffLimitExceeded", "FailedIndexes"}

// warnings passes on each warning about the followed object once.
type warnings struct {
	after time.Time
	told  map[string]bool
}

func newWarnings(after time.Time) *warnings { return &warnings{after: after, told: map[string]bool{}} }

func (w *warnings) take(c change, concerns func(corev1.ObjectReference) bool, notice func(string)) {
	for _, item := range c.items {
		e, ok := item.(*corev1.Event)
		if !ok || slices.Contains(toldOtherwise, e.Reason) || !concerns(e.InvolvedObject) || when(e).Before(w.after) {
			continue
		}
		text := fmt.Sprintf("%s (%s %s): %s", e.Reason, strings.ToLower(e.InvolvedObject.Kind), e.InvolvedObject.Name, strings.TrimSpace(e.Message))
		if !w.told[text] {
			w.told[text] = true
			notice("warning: " + text)
		}
	}
}

// when an event last happened; the newer events API fills other fields.
func when(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
