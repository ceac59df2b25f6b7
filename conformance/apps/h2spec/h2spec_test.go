package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// deviations are the cases that net/http fails on Linux, with the reasons.
var deviations = map[string]string{
	"http2/6.5.3/1":   "a SETTINGS frame with one setting twice ends the connection",
	"http2/8.1.2.2/1": "a Connection field is answered with status 400, not with a stream error",
	"http2/8.1.2.2/2": "so is a TE field with more than trailers",
}

const (
	// atOnce is how many cases run at a time. Each has its own connection. A
	// failing case waits for an answer until its time is over.
	atOnce = 8
	// slowness is how many times longer a server on an emulated CPU may take.
	slowness = 4
)

// verdict is the result of a case.
type verdict string

const (
	passed  verdict = "passed"
	failed  verdict = "failed"
	skipped verdict = "skipped"
)

// result is a case's verdict and the suite's error.
type result struct {
	verdict verdict
	err     error
}

func TestSameAsOnLinux(t *testing.T) {
	cases := suite()
	truth := run(t, harness.Plain, cases)
	for _, id := range slices.Sorted(maps.Keys(cases)) {
		switch why, known := deviations[id]; {
		case known && truth[id].verdict != failed:
			t.Errorf("%s (%s): %s on Linux, but listed as a deviation: %s", id, cases[id].Desc, truth[id].verdict, why)
		case !known && truth[id].verdict != passed:
			t.Errorf("%s (%s): %s on Linux: %v", id, cases[id].Desc, truth[id].verdict, truth[id].err)
		}
	}
	for _, m := range harness.Selected() {
		if !m.Image {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			got := run(t, m, cases)
			for _, id := range slices.Sorted(maps.Keys(cases)) {
				if got[id].verdict != truth[id].verdict {
					t.Errorf("%s (%s): %s, on Linux %s: %v", id, cases[id].Desc, got[id].verdict, truth[id].verdict, got[id].err)
				}
			}
		})
	}
}

// suite returns all cases by the names that h2spec takes on its command line.
func suite() map[string]*spec.TestCase {
	cases := make(map[string]*spec.TestCase)
	var add func(*spec.TestGroup)
	add = func(g *spec.TestGroup) {
		for n, c := range slices.Concat(g.Tests, g.StrictTests) {
			cases[fmt.Sprintf("%s/%d", g.ID(), n+1)] = c
		}
		for _, sub := range g.Groups {
			add(sub)
		}
	}
	add(generic.Spec())
	add(http2.Spec())
	add(hpack.Spec())
	return cases
}

// run tests the server on monitor m with all cases.
func run(t *testing.T, m harness.Monitor, cases map[string]*spec.TestCase) map[string]result {
	t.Helper()
	i := harness.Start(t, m, harness.Program{
		Package: ".",
		Args:    []string{"-addr", ":${port:443}"},
		Ports:   []string{"443"},
	})
	if err := i.AwaitTCP(harness.Timeout, "443"); err != nil {
		t.Fatal(err)
	}
	c := client(t, i)
	results := make(map[string]result)
	start := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for id, tc := range cases {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			r := check(c, tc)
			mu.Lock()
			defer mu.Unlock()
			results[id] = r
		})
	}
	wg.Wait()
	count := make(map[verdict]int)
	for _, r := range results {
		count[r.verdict]++
	}
	t.Logf("%s: %d cases, %d passed, %d failed, %d skipped, in %.1f s", m.Name, len(results),
		count[passed], count[failed], count[skipped], time.Since(start).Seconds())
	if code, err := i.Stop(os.Interrupt, harness.Timeout); err != nil || code != 0 {
		t.Errorf("exit code %d after SIGINT, %v", code, err)
	}
	return results
}

// client returns the suite's configuration for a server.
func client(t *testing.T, i *harness.Instance) *config.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(i.Addr("443"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{
		Host: host, Port: number, Path: "/",
		TLS: true, Insecure: true,
		Timeout:      3 * time.Second,
		MaxHeaderLen: 4000, // the default of the command h2spec
	}
	if i.Monitor.Machine {
		c.Timeout *= slowness
	}
	return c
}

// check runs a case. The suite's own runner runs one case at a time, and ends the
// process if it cannot reach the server.
func check(c *config.Config, tc *spec.TestCase) result {
	conn, err := spec.Dial(c)
	if err != nil {
		return result{failed, err}
	}
	defer conn.Close()
	switch err := tc.Run(c, conn); {
	case err == nil:
		return result{passed, nil}
	case errors.Is(err, spec.ErrSkipped):
		return result{skipped, nil}
	default:
		return result{failed, err}
	}
}
