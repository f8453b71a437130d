// Package awake keeps the machine from going to sleep while Jobs run, as a
// player of films does: by a lock of systemd's logind, which desktops heed.
package awake

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/coreos/go-systemd/v22/login1"
	"github.com/fsnotify/fsnotify"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mlstudio/studio/localcluster/datadir"
	"github.com/mlstudio/studio/localcluster/settings"
)

// keeper holds the lock while it is wanted.
type keeper struct {
	dir datadir.Dir
	log *slog.Logger

	mu      sync.Mutex
	running map[string]bool
	lock    *os.File
	// refused is what was said of a lock that could not be had.
	refused string
}

// Run keeps the machine awake as long as a Job has pods that run and the
// settings do not say otherwise, until ctx ends.
func Run(ctx context.Context, d datadir.Dir, cs kubernetes.Interface, log *slog.Logger) error {
	k := &keeper{dir: d, log: log, running: map[string]bool{}}
	defer k.release()
	stop, err := k.watchSettings()
	if err != nil {
		return err
	}
	defer stop()
	factory := informers.NewSharedInformerFactoryWithOptions(cs, 0, informers.WithTransform(onlyActive))
	_, err = factory.Batch().V1().Jobs().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.job(o, true) },
		UpdateFunc: func(_, o any) { k.job(o, true) },
		DeleteFunc: func(o any) { k.job(o, false) },
	})
	if err != nil {
		return fmt.Errorf("watching jobs: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

// onlyActive keeps of a Job what is needed, for there may be thousands.
func onlyActive(o any) (any, error) {
	job, ok := o.(*batchv1.Job)
	if !ok {
		return o, nil
	}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name, ResourceVersion: job.ResourceVersion, UID: job.UID},
		Status:     batchv1.JobStatus{Active: job.Status.Active},
	}, nil
}

func (k *keeper) job(o any, there bool) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	job, ok := o.(*batchv1.Job)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	name := job.Namespace + "/" + job.Name
	if there && job.Status.Active > 0 {
		k.running[name] = true
	} else {
		delete(k.running, name)
	}
	k.decide()
}

// watchSettings decides anew whenever the settings change.
func (k *keeper) watchSettings() (stop func(), err error) {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		// The folder: the file is replaced as a whole.
		err = w.Add(k.dir.String())
	}
	if err != nil {
		return nil, fmt.Errorf("watching the settings: %w", err)
	}
	go func() {
		for e := range w.Events {
			if filepath.Base(e.Name) == settings.Name {
				k.mu.Lock()
				k.decide()
				k.mu.Unlock()
			}
		}
	}()
	return func() { w.Close() }, nil
}

// decide takes the lock or lets it go; the caller holds the mutex.
func (k *keeper) decide() {
	own, err := settings.Load(k.dir)
	if err != nil {
		k.log.Warn("what to do about sleep is not known", "error", err)
	}
	want := len(k.running) > 0 && !own.LetSleep
	switch {
	case want && k.lock == nil:
		k.lock, err = take()
		if err != nil && err.Error() != k.refused {
			k.refused = err.Error()
			k.log.Info("this machine may go to sleep while jobs run", "why", err)
		}
	case !want && k.lock != nil:
		// Closing it is what releases it.
		k.lock.Close()
		k.lock = nil
	}
}

func (k *keeper) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.running)
	k.decide()
}

// take asks logind for the lock.
func take() (*os.File, error) {
	conn, err := login1.New()
	if err != nil {
		return nil, fmt.Errorf("reaching logind: %w", err)
	}
	defer conn.Close()
	lock, err := conn.Inhibit("sleep:idle", "Studio", "jobs are running", "block")
	if err != nil {
		return nil, fmt.Errorf("asking logind to stay awake: %w", err)
	}
	return lock, nil
}
