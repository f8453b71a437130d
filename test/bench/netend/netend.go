// Package netend is both ends of a network measurement. The bench program runs
// itself as one of them: on the host, and in pods.
package netend

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"
)

// Result is what a client prints.
type Result struct {
	// BytesPerSecond of one stream.
	BytesPerSecond float64 `json:"bytesPerSecond,omitempty"`
	// P50 of a question and its answer, in microseconds.
	P50 float64 `json:"p50,omitempty"`
}

// The first byte of a connection says what it is for.
const (
	send    = 's' // the client sends, the server answers with the count
	receive = 'r' // the server sends until the client leaves
	echo    = 'e' // each message comes back
)

const (
	chunk   = 256 << 10
	message = 64
)

// Run is `bench end serve ADDRESS`, `send|receive ADDRESS SECONDS` or `echo ADDRESS COUNT`.
func Run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == "serve" {
		return serve(ctx, args[1], out)
	}
	if len(args) != 3 {
		return fmt.Errorf("an end of a measurement: want serve ADDRESS, send|receive ADDRESS SECONDS or echo ADDRESS COUNT, got %q", args)
	}
	n, err := strconv.Atoi(args[2])
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number above 0", args[2])
	}
	c, err := net.DialTimeout("tcp", args[1], 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	var r Result
	switch span := time.Duration(n) * time.Second; args[0] {
	case "send":
		r.BytesPerSecond, err = sendFor(c.(*net.TCPConn), span)
	case "receive":
		r.BytesPerSecond, err = receiveFor(c, span)
	case "echo":
		r.P50, err = echoes(c, n)
	default:
		return fmt.Errorf("an end of a measurement has no part %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// serve prints where it listens.
func serve(ctx context.Context, address string, out io.Writer) error {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, l.Addr())
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		c, err := l.Accept()
		if err != nil {
			return ctx.Err()
		}
		go answer(c)
	}
}

func answer(c net.Conn) {
	defer c.Close()
	kind := make([]byte, 1)
	if _, err := io.ReadFull(c, kind); err != nil {
		return
	}
	buffer := make([]byte, chunk)
	switch kind[0] {
	case send:
		var total uint64
		for {
			n, err := c.Read(buffer)
			total += uint64(n)
			if err != nil {
				break
			}
		}
		_ = binary.Write(c, binary.BigEndian, total)
	case receive:
		for {
			if _, err := c.Write(buffer); err != nil {
				return
			}
		}
	case echo:
		for {
			if _, err := io.ReadFull(c, buffer[:message]); err != nil {
				return
			}
			if _, err := c.Write(buffer[:message]); err != nil {
				return
			}
		}
	}
}

// sendFor counts what the other side has read, until it says so.
func sendFor(c *net.TCPConn, span time.Duration) (float64, error) {
	buffer := make([]byte, chunk)
	if _, err := c.Write([]byte{send}); err != nil {
		return 0, err
	}
	start := time.Now()
	for time.Since(start) < span {
		if _, err := c.Write(buffer); err != nil {
			return 0, err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return 0, err
	}
	var total uint64
	if err := binary.Read(c, binary.BigEndian, &total); err != nil {
		return 0, fmt.Errorf("waiting for the other side's count: %w", err)
	}
	return float64(total) / time.Since(start).Seconds(), nil
}

func receiveFor(c net.Conn, span time.Duration) (float64, error) {
	if _, err := c.Write([]byte{receive}); err != nil {
		return 0, err
	}
	buffer := make([]byte, chunk)
	start := time.Now()
	var total int
	for time.Since(start) < span {
		n, err := c.Read(buffer)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return float64(total) / time.Since(start).Seconds(), nil
}

func echoes(c net.Conn, n int) (float64, error) {
	if _, err := c.Write([]byte{echo}); err != nil {
		return 0, err
	}
	buffer := make([]byte, message)
	took := make([]time.Duration, n)
	for i := range took {
		start := time.Now()
		_, err := c.Write(buffer)
		if err == nil {
			_, err = io.ReadFull(c, buffer)
		}
		if err != nil {
			return 0, errors.Join(fmt.Errorf("message %d", i), err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return float64(took[n/2].Nanoseconds()) / 1e3, nil
}
