package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// listen receives what the test processes tell of each spec that ends, and
// prints it. It returns the address to tell it to.
func listen(out io.Writer) (address string, stop func(), err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listening for the specs' progress: %w", err)
	}
	begun := time.Now()
	ended := make(chan string)
	var printer = make(chan struct{})
	go func() {
		defer close(printer)
		n := 0
		for message := range ended {
			n++
			fmt.Fprintf(out, "%4d  %6s  %s\n", n, time.Since(begun).Round(time.Second), message)
		}
	}()
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var told struct {
			Message string `json:"msg"`
		}
		if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if strings.HasPrefix(told.Message, "PASSED ") || strings.HasPrefix(told.Message, "FAILED ") {
			ended <- told.Message
		}
	})}
	go server.Serve(l)
	return "http://" + l.Addr().String(), func() {
		server.Close()
		close(ended)
		<-printer
	}, nil
}
