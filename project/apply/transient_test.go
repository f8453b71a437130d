package apply

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestTransientIsAServerThatIsAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close()
	_, refused := http.Get(address)

	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer srv.Close()
	_, aborted := http.Get(srv.URL)

	for _, err := range []error{refused, aborted, fmt.Errorf("applying x: %w", refused), apierrors.NewServiceUnavailable("starting")} {
		if !Transient(err) {
			t.Errorf("%v is taken for good", err)
		}
	}
	for _, err := range []error{nil, errorText("malformed"), apierrors.NewNotFound(schema.GroupResource{}, "x"), apierrors.NewBadRequest("x"), apierrors.NewUnauthorized("x")} {
		if Transient(err) {
			t.Errorf("%v is taken for passing", err)
		}
	}
}
