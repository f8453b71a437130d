package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// ExposeRequest asks for a port of the loopback that leads into the cluster.
type ExposeRequest struct {
	Namespace string `json:"namespace"`
	// Ref is [KIND/]NAME[:PORT]; KIND is svc or pod.
	Ref string `json:"ref"`
	// LocalPort on 127.0.0.1; 0: the target's own number where it is free, else any.
	LocalPort int `json:"localPort,omitempty"`
}

// Exposure is a port of the loopback and where it leads.
type Exposure struct {
	// Address is where to connect to: 127.0.0.1 and the local port.
	Address   string `json:"address"`
	LocalPort int    `json:"localPort"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Port      string `json:"port"`
	// State is open, waiting (nothing answers yet) or failed (nothing listens).
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
	// Endpoints are the addresses inside the cluster that connections go to.
	Endpoints []string `json:"endpoints,omitempty"`
}

// The states of an exposure.
const (
	ExposureOpen    = "open"
	ExposureWaiting = "waiting"
	ExposureFailed  = "failed"
)

// Refusal is an answer to a person: what stands against it, and the way out.
type Refusal struct {
	Cause string `json:"cause"`
	Cure  string `json:"cure"`
}

func (r *Refusal) Error() string { return r.Cause }

// refusedStatus marks an answer whose body is a Refusal.
const refusedStatus = http.StatusUnprocessableEntity

// WriteRefusal answers a request with a refusal.
func WriteRefusal(w http.ResponseWriter, r *Refusal) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(refusedStatus)
	return json.NewEncoder(w).Encode(r)
}

func readRefusal(body io.Reader) error {
	var r Refusal
	if err := json.NewDecoder(body).Decode(&r); err != nil {
		return fmt.Errorf("reading the engine's refusal: %w", err)
	}
	return &r
}

// Expose opens a port. It is remembered until it is removed.
func (c *Client) Expose(ctx context.Context, r ExposeRequest) (Exposure, error) {
	var x Exposure
	return x, c.ask(ctx, http.MethodPost, "/v1/exposures", r, &x)
}

// Exposures lists the open ports.
func (c *Client) Exposures(ctx context.Context) ([]Exposure, error) {
	var all []Exposure
	return all, c.ask(ctx, http.MethodGet, "/v1/exposures", nil, &all)
}

// Unexpose closes what the reference names: a local port, or [KIND/]NAME[:PORT].
func (c *Client) Unexpose(ctx context.Context, namespace, ref string) ([]Exposure, error) {
	var gone []Exposure
	q := url.Values{"namespace": {namespace}, "ref": {ref}}
	return gone, c.ask(ctx, http.MethodDelete, "/v1/exposures?"+q.Encode(), nil, &gone)
}

// ask sends a request and reads the answer.
func (c *Client) ask(ctx context.Context, method, path string, in, out any) error {
	res, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	return nil
}
