package holder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/mlstudio/studio/localcluster/holder/client"
	"github.com/mlstudio/studio/localcluster/holder/namespaces"
	"github.com/mlstudio/studio/localcluster/ownsocket"
	"github.com/mlstudio/studio/version"
)

// listen serves the control API until ctx ends. It returns once it listens.
func (h *holder) listen(ctx context.Context) error {
	l, err := listenUnix(h.config.Dir.HolderSocket())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { answer(w, h.status(), nil) })
	mux.HandleFunc("GET /v1/events", h.serveEvents)
	mux.HandleFunc("POST /v1/node/start", func(w http.ResponseWriter, r *http.Request) {
		h.node.start()
		answer(w, struct{}{}, nil)
	})
	mux.HandleFunc("POST /v1/node/stop", func(w http.ResponseWriter, r *http.Request) {
		h.node.stop()
		answer(w, struct{}{}, nil)
	})
	mux.HandleFunc("POST /v1/allow", func(w http.ResponseWriter, r *http.Request) {
		var a client.Allow
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			answer(w, nil, fmt.Errorf("reading the request: %w", err))
			return
		}
		answer(w, struct{}{}, h.shown.allow(a))
	})
	mux.HandleFunc("POST /v1/shutdown", func(w http.ResponseWriter, r *http.Request) {
		var s client.Shutdown
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			answer(w, nil, fmt.Errorf("reading the request: %w", err))
			return
		}
		h.drain(s)
		answer(w, struct{}{}, nil)
		h.stop()
	})
	server := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.Serve(ownsocket.Only(l))
	h.ended = ctx.Done()
	return nil
}

// serve waits for the end.
func (h *holder) serve() error {
	select {
	case <-h.ended:
		h.node.stop()
		return nil
	case <-h.initEnd:
		return errors.New("holding the node: the first process of its pods was killed, and all of them with it")
	}
}

func answer(w http.ResponseWriter, value any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	raw, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.Write(raw)
	// A shutdown follows its answer at once.
	http.NewResponseController(w).Flush()
}

func (h *holder) status() client.Status {
	s := client.Status{ID: h.id, Mapping: string(h.mapping), Version: version.Version, Since: h.since, Node: h.node.status(), Pods: h.node.othersRun()}
	if h.mapping == namespaces.Single {
		s.Warnings = append(s.Warnings, "only one user id is mapped: pods that change owners or run as another user fail; install newuidmap (package uidmap) and give this user lines in /etc/subuid and /etc/subgid, then `studio down` and `studio up`")
	}
	return s
}

func (h *holder) serveEvents(w http.ResponseWriter, r *http.Request) {
	known, coming := h.events.listen()
	defer h.events.leave(coming)
	flusher, enc := http.NewResponseController(w), json.NewEncoder(w)
	for _, e := range known {
		enc.Encode(e)
	}
	flusher.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e, ok := <-coming:
			if !ok || enc.Encode(e) != nil {
				return
			}
			flusher.Flush()
		}
	}
}

// drainSlack is what ending the pods may take beside their grace.
const drainSlack = 15 * time.Second

// drain ends the pods: the node half stops, so that it starts none again, and
// one that does nothing else ends them, whether or not one was running before.
func (h *holder) drain(s client.Shutdown) {
	h.node.stop()
	if !h.node.othersRun() {
		return
	}
	ctx := h.node.ctx
	if s.GraceSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.GraceSeconds*float64(time.Second))+drainSlack)
		defer cancel()
	}
	grace := strconv.FormatFloat(s.GraceSeconds, 'f', -1, 64)
	if how := h.node.once(ctx, []string{EnvDrain + "=" + grace}); how != "exit code 0" {
		h.config.Log.Error("ending the pods with grace failed; they are killed", "how", how)
	}
}
