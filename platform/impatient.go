package platform

import (
	"net/http"
	"time"
)

// impatient asks again soon where the API server, freshly started, has no cache
// of a custom kind yet: it then says 429 and "retry after one second", but is
// ready within milliseconds, and a start must not wait for a second.
func impatient(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		for range attempts {
			resp, err := next.RoundTrip(req)
			if err != nil || req.Method != http.MethodGet || resp.StatusCode != http.StatusTooManyRequests {
				return resp, err
			}
			resp.Body.Close()
			// A timer, since the server offers nothing to wait for.
			select {
			case <-req.Context().Done():
				return nil, req.Context().Err()
			case <-time.After(pause):
			}
		}
		return next.RoundTrip(req)
	})
}

// A server that is really too busy is asked this often before the pause that it
// wishes is kept.
const (
	attempts = 20
	pause    = 20 * time.Millisecond
)

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
