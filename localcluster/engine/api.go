package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/mlstudio/studio/localcluster/engine/client"
	"github.com/mlstudio/studio/localcluster/ownsocket"
	"github.com/mlstudio/studio/localcluster/projects"
)

// listen serves the engine's API on its socket. The folder is 0700 and the
// socket 0600; besides, the kernel's word on who calls is checked.
func (e *engine) listen(ctx context.Context) (stop func(), err error) {
	socket := e.dir.EngineSocket()
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("opening the engine's socket: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("opening the engine's socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("opening the engine's socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/state", e.getState)
	mux.HandleFunc("GET /v1/events", e.getEvents)
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, _ *http.Request) { e.end(w, false) })
	mux.HandleFunc("POST /v1/down", func(w http.ResponseWriter, _ *http.Request) { e.end(w, true) })
	mux.HandleFunc("POST /v1/projects", e.postProject)
	mux.HandleFunc("GET /v1/exposures", e.getExposures)
	mux.HandleFunc("POST /v1/exposures", e.postExposure)
	mux.HandleFunc("DELETE /v1/exposures", e.deleteExposure)
	srv := &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }}
	go srv.Serve(ownsocket.Only(l))
	return func() { srv.Close() }, nil
}

func (e *engine) getState(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(e.hub.snapshot())
}

func (e *engine) getEvents(w http.ResponseWriter, r *http.Request) {
	since, err := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64)
	if err != nil {
		http.Error(w, "since: want the number of the last message seen, or 0", http.StatusBadRequest)
		return
	}
	release, ok := e.holdAll(w, r.URL.Query().Get("files"))
	if !ok {
		return
	}
	defer release()
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	e.hub.watch(r.Context(), since, func(m client.Message) error {
		if err := enc.Encode(m); err != nil {
			return err
		}
		return flush.Flush()
	})
}

func (e *engine) end(w http.ResponseWriter, pods bool) {
	e.hub.update(func(s *client.State) { s.Stopping, s.Ready = true, false })
	w.WriteHeader(http.StatusAccepted)
	e.requestEnd(pods)
}

func (e *engine) postProject(w http.ResponseWriter, r *http.Request) {
	var p projects.Project
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&p); err != nil {
		http.Error(w, fmt.Sprintf("reading the project: %v", err), http.StatusBadRequest)
		return
	}
	if err := p.Validate(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := e.registerProject(r.Context(), p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
