package controller

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mlstudio/studio/train/api/v1alpha1"
)

// memory keeps what the cluster forgets: a Job that gives up deletes its pods
// before it says so, and with them the reason. It is lost with the process, which
// costs at most an Event said twice or a reason less.
type memory struct {
	mu   sync.Mutex
	jobs map[types.NamespacedName]*recollection
}

// recollection is what is remembered of one TrainJob.
type recollection struct {
	uid      types.UID
	failure  string
	restarts map[containerKey]int32
}

type containerKey struct {
	pod       types.UID
	container string
}

func newMemory() *memory { return &memory{jobs: map[types.NamespacedName]*recollection{}} }

// of returns what is known of the TrainJob; a namesake of a former one starts anew.
func (m *memory) of(tj *v1alpha1.TrainJob) *recollection {
	key := client.ObjectKeyFromObject(tj)
	if r := m.jobs[key]; r != nil && r.uid == tj.UID {
		return r
	}
	r := &recollection{uid: tj.UID, restarts: map[containerKey]int32{}}
	m.jobs[key] = r
	return r
}

// remember keeps the latest answer to "what failed first?"; none changes nothing.
func (m *memory) remember(tj *v1alpha1.TrainJob, failure string) {
	if failure == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(tj).failure = failure
}

func (m *memory) failure(tj *v1alpha1.TrainJob) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of(tj).failure
}

// newRestart tells whether this restart was not seen before.
func (m *memory) newRestart(tj *v1alpha1.TrainJob, pod types.UID, container string, count int32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, key := m.of(tj), containerKey{pod, container}
	if r.restarts[key] >= count {
		return false
	}
	r.restarts[key] = count
	return true
}

func (m *memory) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, key)
}
