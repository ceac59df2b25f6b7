package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

var duration = flag.Duration("soak", 4*time.Second, "how long TestSoak takes on each monitor")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// clients is the number of concurrent clients. Every other client makes a new
// connection for each request.
const clients = 8

// The limits of growth and of a timer's delay. They allow for other load on the
// host.
const (
	moreGoroutines  = 2*clients + 10
	moreDescriptors = 2*clients + 10
	moreMemory      = 24 << 20 // includes connections in TIME-WAIT, whose number is bounded
	tooLate         = 10 * time.Second
)

func TestSoak(t *testing.T) {
	remote, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() }) // after the parallel subtests
	go echo(remote)
	_, port, err := net.SplitHostPort(remote.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := harness.Program{
		Package: ".", Ports: []string{"80"},
		Args: []string{"-addr", ":${port:80}", "-remote", "${host}:" + port},
	}
	// The monitors run at the same time. The limits above allow for the load.
	for _, m := range harness.Selected() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			checkSoak(t, harness.Start(t, m, p))
		})
	}
}

// checkSoak loads an instance and compares its statistics early and late.
func checkSoak(t *testing.T, i *harness.Instance) {
	if err := i.AwaitTCP(harness.Timeout, "80"); err != nil {
		t.Fatal(err)
	}
	requests := load(t, i, *duration/4)
	first := stats(t, i)
	requests += load(t, i, *duration/2)
	middle := stats(t, i)
	requests += load(t, i, *duration/4)
	last := stats(t, i)
	t.Logf("%d requests; goroutines %d, then %d; descriptors %d, then %d; heap %d KiB, then %d; of the system %d KiB, then %d; a timer was %v late",
		requests, first.Goroutines, last.Goroutines, first.Descriptors, last.Descriptors, first.Heap>>10, last.Heap>>10, first.Sys>>10, last.Sys>>10,
		max(first.MostLate, middle.MostLate, last.MostLate))
	for _, failure := range last.Failures {
		t.Error(failure)
	}
	for name, n := range last.Steps {
		if n <= middle.Steps[name] {
			t.Errorf("%s stands still after %d steps", name, n)
		}
	}
	if late := max(first.MostLate, middle.MostLate, last.MostLate); late > tooLate {
		t.Errorf("a timer was %v late", late)
	}
	if last.Goroutines > first.Goroutines+moreGoroutines {
		t.Errorf("%d goroutines, then %d", first.Goroutines, last.Goroutines)
	}
	if last.Descriptors > first.Descriptors+moreDescriptors {
		t.Errorf("%d descriptors, then %d", first.Descriptors, last.Descriptors)
	}
	if last.Heap > first.Heap+moreMemory || last.Sys > first.Sys+moreMemory {
		t.Errorf("heap %d, then %d; of the system %d, then %d", first.Heap, last.Heap, first.Sys, last.Sys)
	}
	if code, err := i.Stop(syscall.SIGTERM, harness.Timeout); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// load makes requests for the time d. Each must be answered.
func load(t *testing.T, i *harness.Instance, d time.Duration) (requests int64) {
	t.Helper()
	var all sync.WaitGroup
	var count atomic.Int64
	end := time.Now().Add(d)
	for n := range clients {
		all.Go(func() {
			client := &http.Client{Timeout: harness.Timeout, Transport: &http.Transport{DisableKeepAlives: n%2 == 0}}
			defer client.CloseIdleConnections()
			for time.Now().Before(end) {
				if err := request(client, i, rand.IntN(20000)); err != nil {
					t.Error(err)
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	return count.Load()
}

func request(client *http.Client, i *harness.Instance, n int) error {
	r, err := client.Get(fmt.Sprintf("http://%s/work?n=%d", i.Addr("80"), n))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if len(b) != n || n > 0 && (b[0] != byte(n) || b[n-1] != byte(n)) {
		return fmt.Errorf("asked for %d bytes, got %d", n, len(b))
	}
	return nil
}

func stats(t *testing.T, i *harness.Instance) (s Stats) {
	t.Helper()
	r, err := http.Get("http://" + i.Addr("80") + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}
