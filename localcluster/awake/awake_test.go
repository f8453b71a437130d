package awake

import (
	"log/slog"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/settings"
	"github.com/mlstudio/studio/test/logind"
)

func job(name string, active int32) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Status: batchv1.JobStatus{Active: active}}
}

func TestKeeper(t *testing.T) {
	bus := logind.Start(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.Address)
	d := datadir.Dir(t.TempDir())
	k := &keeper{dir: d, log: slog.New(slog.DiscardHandler), running: map[string]bool{}}
	stop, err := k.watchSettings()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	expect := func(what string, locks int) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); len(bus.Held()) != locks; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: locks %q, want %d", what, bus.Held(), locks)
			}
		}
	}
	expect("nothing runs", 0)
	k.job(job("a", 1), true)
	expect("a job runs", 1)
	k.job(job("b", 2), true)
	k.job(job("a", 0), true)
	expect("one of two has ended", 1)
	if err := settings.Change(d, func(s *settings.Settings) { s.LetSleep = true }); err != nil {
		t.Fatal(err)
	}
	expect("switched off", 0)
	if err := settings.Change(d, func(s *settings.Settings) { s.LetSleep = false }); err != nil {
		t.Fatal(err)
	}
	expect("switched on again", 1)
	k.job(cache.DeletedFinalStateUnknown{Obj: job("b", 2)}, false)
	expect("the last one was deleted", 0)
	k.job(job("c", 1), true)
	expect("another runs", 1)
	k.release()
	expect("the engine ends", 0)
}

// A machine without logind is no error.
func TestKeeperWithoutLogind(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	k := &keeper{dir: datadir.Dir(t.TempDir()), log: slog.New(slog.DiscardHandler), running: map[string]bool{}}
	k.job(job("a", 1), true)
	if k.lock != nil || k.refused == "" {
		t.Errorf("lock %v, refused %q", k.lock, k.refused)
	}
}
