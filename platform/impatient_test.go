package platform

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

func TestImpatientAsksAgainUntilTheServerIsReady(t *testing.T) {
	for name, c := range map[string]struct {
		method     string
		busy, want int32
		code       int
	}{
		"ready":          {http.MethodGet, 0, 1, http.StatusOK},
		"soon":           {http.MethodGet, 3, 4, http.StatusOK},
		"really busy":    {http.MethodGet, 1000, attempts + 1, http.StatusTooManyRequests},
		"never a change": {http.MethodPost, 3, 1, http.StatusTooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if calls.Add(1) <= c.busy {
					w.WriteHeader(http.StatusTooManyRequests)
				}
			}))
			defer s.Close()
			req, err := http.NewRequestWithContext(t.Context(), c.method, s.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: impatient(http.DefaultTransport)}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if calls.Load() != c.want || resp.StatusCode != c.code {
				t.Errorf("%d calls, status %d; want %d, %d", calls.Load(), resp.StatusCode, c.want, c.code)
			}
		})
	}
}

func TestImpatientEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		cancel()
	}))
	defer s.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := (&http.Client{Transport: impatient(http.DefaultTransport)}).Do(req); !errors.Is(err, context.Canceled) {
		if err == nil {
			resp.Body.Close()
		}
		t.Errorf("got %v, want the context's end", err)
	}
}
