package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/client-go/kubernetes"

	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/expose"
	"github.com/mlstudio/studio/localcluster/nodedial"
)

// openExposed takes up the ports that were exposed before.
func (e *engine) openExposed(ctx context.Context) (*expose.Manager, error) {
	return expose.Open(ctx, expose.Config{
		Dir: e.dir, Log: e.log, Dial: nodedial.Dialer{Socket: e.dir.NodeSocket()}.DialContext,
		Client: func(ctx context.Context) (kubernetes.Interface, error) {
			if err := e.hub.wait(ctx, phaseAPI); err != nil {
				return nil, err
			}
			return e.client()
		},
	})
}

func (e *engine) getExposures(w http.ResponseWriter, _ *http.Request) {
	reply(w, e.exposed.List(), nil)
}

func (e *engine) postExposure(w http.ResponseWriter, r *http.Request) {
	var q client.ExposeRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&q); err != nil {
		http.Error(w, fmt.Sprintf("reading what to expose: %v", err), http.StatusBadRequest)
		return
	}
	x, err := e.exposed.Add(r.Context(), q)
	reply(w, x, err)
}

func (e *engine) deleteExposure(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	gone, err := e.exposed.Remove(q.Get("namespace"), q.Get("ref"))
	reply(w, gone, err)
}

// reply answers with a value, a refusal, or the text of an error.
func reply(w http.ResponseWriter, value any, err error) {
	var refusal *client.Refusal
	switch {
	case errors.As(err, &refusal):
		client.WriteRefusal(w, refusal)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(value)
	}
}
