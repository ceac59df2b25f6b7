package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// startTimeout is how long a server may take to its first answer.
const startTimeout = 30 * time.Second

// httpFigure: requests per second of the smallest net/http server. wrk loads it
// with one thread and 30 connections that stay open. Each round starts a new
// server and warms it up.
var httpFigure = figure{
	name:    "http",
	what:    "net/http hello, `wrk -t1 -c30`, against the plain binary, runc and runsc",
	goal:    "at least half of plain; at least 3 times runsc",
	measure: measureHTTP,
}

var netHello = harness.Program{
	Package: "./bench/programs/nethello",
	Args:    []string{":${port:80}"},
	Ports:   []string{"80"},
}

func measureHTTP(b *bench) ([]line, error) {
	all, err := b.alternateRequests(b.contestants("pith", "plain", "runc", "runsc"))
	if err != nil {
		return nil, err
	}
	l := newLine("", "requests/s", all)
	l.compare("plain", func(r float64) bool { return r >= 0.5 })
	l.compare("runsc", func(r float64) bool { return r >= 3 })
	return []line{l}, nil
}

// alternateRequests measures requests per second.
func (b *bench) alternateRequests(contestants []harness.Monitor) ([]samples, error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		return nil, fmt.Errorf("wrk is not installed: %w", err)
	}
	return b.alternate(contestants, func(m harness.Monitor) (rate float64, err error) {
		err = b.serve(m, netHello, func(i *harness.Instance) error {
			if _, err := b.wrk(i.Addr("80"), time.Second); err != nil {
				return err
			}
			rate, err = b.wrk(i.Addr("80"), 4*time.Second)
			return err
		})
		return rate, err
	})
}

var requestsPerSecond = regexp.MustCompile(`Requests/sec:\s*([\d.]+)`)

// errorLines matches what wrk prints when a request failed.
var errorLines = regexp.MustCompile(`(?m)^\s*(Socket errors|Non-2xx).*$`)

// wrk loads the server at addr and returns its requests per second.
func (b *bench) wrk(addr string, d time.Duration) (float64, error) {
	out, err := exec.CommandContext(b.ctx, "wrk", "-t1", "-c30", "-d"+d.String(), "http://"+addr+"/").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	if e := errorLines.Find(out); e != nil {
		return 0, fmt.Errorf("wrk: %s", e)
	}
	m := requestsPerSecond.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk printed %q", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// serve starts a server, calls measure when it answers, and stops it.
func (b *bench) serve(m harness.Monitor, p harness.Program, measure func(*harness.Instance) error) error {
	i, err := b.lab.Start(b.ctx, m, p)
	if err != nil {
		return err
	}
	err = i.AwaitTCP(startTimeout, p.Ports[0])
	if err == nil {
		err = measure(i)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, i.Stderr())
	}
	if _, stopErr := i.Stop(os.Interrupt, startTimeout); err == nil {
		err = stopErr
	}
	if killErr := i.Kill(); err == nil {
		err = killErr
	}
	return err
}
