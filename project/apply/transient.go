package apply

import (
	"errors"
	"io"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Transient tells whether an error says only that the API server was away or
// about to end, so that the same call may well succeed when it is back. All
// calls of this package may be repeated, but for objects with generated names.
func Transient(err error) bool {
	if err == nil {
		return false
	}
	return utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) || utilnet.IsHTTP2ConnectionLost(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) ||
		errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "apiserver is shutting down")
}
