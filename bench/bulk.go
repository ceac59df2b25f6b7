package main

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// bulkFigure: one TCP connection from the host to a program that sends back what
// it gets. The time ends when all bytes are back. A smaller exchange comes first
// to warm up.
var bulkFigure = figure{
	name:    "bulk",
	what:    "bulk TCP, host to program and back, against the plain binary and runsc",
	goal:    "at least 0.15 of plain; faster than runsc",
	measure: measureBulk,
}

const (
	bulkBytes = 256 << 20
	warmBytes = 16 << 20
)

func measureBulk(b *bench) ([]line, error) {
	program := harness.Program{
		Package: "./bench/programs/echo",
		Args:    []string{":${port:7}"},
		Ports:   []string{"7"},
	}
	all, err := b.alternate(b.contestants("pith", "plain", "runc", "runsc"), func(m harness.Monitor) (rate float64, err error) {
		err = b.serve(m, program, func(i *harness.Instance) error {
			if _, err := exchange(i.Addr("7"), warmBytes); err != nil {
				return err
			}
			took, err := exchange(i.Addr("7"), bulkBytes)
			rate = bulkBytes / 1e6 / took.Seconds()
			return err
		})
		return rate, err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "MB/s each way", all)
	l.compare("plain", func(r float64) bool { return r >= 0.15 })
	l.compare("runsc", func(r float64) bool { return r > 1 })
	return []line{l}, nil
}

// exchange sends n bytes to addr and reads as many back.
func exchange(addr string, n int) (time.Duration, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		block := make([]byte, 256<<10)
		for left := n; left > 0; left -= len(block) {
			if _, err := c.Write(block); err != nil {
				sent <- err
				return
			}
		}
		sent <- c.(*net.TCPConn).CloseWrite()
	}()
	back, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
	took := time.Since(start)
	if err == nil {
		err = <-sent
	}
	if err == nil && back != int64(n) {
		err = fmt.Errorf("%d bytes came back, want %d", back, n)
	}
	return took, err
}
