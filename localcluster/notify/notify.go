// Package notify is how a child process of the engine tells its parent how far
// it is: JSON lines on an inherited file descriptor, named by the environment.
package notify

import (
	"encoding/json"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/mlstudio/studio/localcluster"
)

// EnvFD names the variable that holds the descriptor's number.
const EnvFD = "STUDIO_NOTIFY_FD"

// Notifier writes events. Its zero value, and that of a process that has no
// parent to tell, drops them.
type Notifier struct {
	mu sync.Mutex
	w  io.WriteCloser
}

// FromEnv returns the notifier that the parent asked for. The descriptor is
// kept from the children of this process.
func FromEnv() *Notifier {
	fd, err := strconv.Atoi(os.Getenv(EnvFD))
	if err != nil || fd < 3 {
		return &Notifier{}
	}
	os.Unsetenv(EnvFD)
	closeOnExec(fd)
	return &Notifier{w: os.NewFile(uintptr(fd), "notify")}
}

// Send tells the parent. A parent that is gone is no error: children outlive it.
func (n *Notifier) Send(phase string, state localcluster.State, message string, seconds float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.w == nil {
		return
	}
	line, err := json.Marshal(localcluster.Event{Time: time.Now(), Phase: phase, State: state, Message: message, Seconds: seconds})
	if err != nil {
		return
	}
	if _, err := n.w.Write(append(line, '\n')); err != nil {
		n.w.Close()
		n.w = nil
	}
}

// Phase tells that a phase starts and returns what ends it: with nil it is
// done, else failed.
func (n *Notifier) Phase(phase string) func(error) {
	start := time.Now()
	n.Send(phase, localcluster.Started, "", 0)
	return func(err error) {
		if err != nil {
			n.Send(phase, localcluster.Failed, err.Error(), time.Since(start).Seconds())
			return
		}
		n.Send(phase, localcluster.Done, "", time.Since(start).Seconds())
	}
}

// Read calls f for each event until the other side closes.
func Read(r io.Reader, f func(localcluster.Event)) error {
	dec := json.NewDecoder(r)
	for {
		var e localcluster.Event
		if err := dec.Decode(&e); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		f(e)
	}
}
