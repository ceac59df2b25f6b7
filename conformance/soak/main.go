// Command soak does a little of everything at once, for as long as it is let:
// timers, garbage, connections, files, goroutines that wait for each other. It
// serves what its test asks for: /work, and /stats, how far everybody is. On
// SIGTERM all must come to an end.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Stats is how far the workers are and what they take.
type Stats struct {
	Steps       map[string]int64 // by worker
	Failures    []string
	MostLate    time.Duration // of a timer, since the last question
	Goroutines  int
	Descriptors int
	Heap        uint64 // live, after a collection
	Sys         uint64 // taken from the system
}

// worker repeats step until its context ends.
type worker struct {
	name  string
	step  func(ctx context.Context) error
	count atomic.Int64
}

// crew is all workers.
type crew struct {
	workers  []*worker
	mostLate atomic.Int64

	mu       sync.Mutex
	failures []string
}

const maxFailures = 20

func (c *crew) fail(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures) < maxFailures {
		c.failures = append(c.failures, name+": "+err.Error())
	}
}

func (c *crew) add(name string, step func(ctx context.Context) error) {
	c.workers = append(c.workers, &worker{name: name, step: step})
}

// run returns when ctx has ended and all workers have.
func (c *crew) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, w := range c.workers {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := w.step(ctx); err != nil && ctx.Err() == nil {
					c.fail(w.name, err)
				}
				w.count.Add(1)
			}
		})
	}
	all.Wait()
}

func (c *crew) stats() Stats {
	s := Stats{Steps: make(map[string]int64), Goroutines: runtime.NumGoroutine()}
	for _, w := range c.workers {
		s.Steps[w.name] = w.count.Load()
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		c.fail("stats", err)
	}
	s.Descriptors = len(open)
	c.mu.Lock()
	s.Failures = c.failures
	c.mu.Unlock()
	s.MostLate = time.Duration(c.mostLate.Swap(0))
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.Heap, s.Sys = m.HeapAlloc, m.Sys-m.HeapReleased
	return s
}

// addTimers adds sleepers of many lengths, which say how late they wake.
func (c *crew) addTimers() {
	for i := range 100 {
		period := time.Duration(1+i*i) * 100 * time.Microsecond // up to a second
		c.add(fmt.Sprint("timer ", period), func(ctx context.Context) error {
			due := time.Now().Add(period)
			t := time.NewTimer(period)
			defer t.Stop()
			select {
			case now := <-t.C:
				late := int64(now.Sub(due))
				for most := c.mostLate.Load(); late > most && !c.mostLate.CompareAndSwap(most, late); {
					most = c.mostLate.Load()
				}
				if late < 0 {
					return fmt.Errorf("%v early", time.Duration(-late))
				}
			case <-ctx.Done():
			}
			return nil
		})
	}
}

// addGarbage adds one who drops memory all the time, and looks whether what is
// left is what it was.
func (c *crew) addGarbage() {
	type block struct {
		data []byte
		sum  uint32
	}
	ring := make([]*block, 256)
	c.add("garbage", func(context.Context) error {
		defer time.Sleep(100 * time.Microsecond)
		i := rand.IntN(len(ring))
		if b := ring[i]; b != nil && crc32.ChecksumIEEE(b.data) != b.sum {
			return errors.New("memory has changed")
		}
		b := &block{data: make([]byte, 1+rand.IntN(32<<10))}
		for j := 0; j < len(b.data); j += 64 {
			b.data[j] = byte(rand.Uint32())
		}
		b.sum = crc32.ChecksumIEEE(b.data)
		ring[i] = b
		return nil
	})
}

// echo answers every connection with what it says.
func echo(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn) // ends with the client
		}()
	}
}

// addConnects adds who connects to addr, says something and hears it back.
func (c *crew) addConnects(name, addr string) {
	c.add(name, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		deadline, _ := ctx.Deadline()
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
		said := bytes.Repeat([]byte{byte(rand.Uint32())}, 1+rand.IntN(4000))
		if _, err := conn.Write(said); err != nil {
			return err
		}
		heard := make([]byte, len(said))
		if _, err := io.ReadFull(conn, heard); err != nil {
			return err
		}
		if !bytes.Equal(said, heard) {
			return errors.New("the echo is another")
		}
		time.Sleep(time.Millisecond)
		return nil
	})
}

// addWaits adds goroutines that wait for each other.
func (c *crew) addWaits() {
	ping, pong := make(chan int), make(chan int)
	c.add("ping", func(ctx context.Context) error {
		select {
		case ping <- 1:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-pong:
		case <-ctx.Done():
		}
		return nil
	})
	c.add("pong", func(ctx context.Context) error {
		select {
		case n := <-ping:
			select {
			case pong <- n:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		return nil
	})
	var mu sync.Mutex
	shared := 0
	for i := range 4 {
		c.add(fmt.Sprint("lock ", i), func(context.Context) error {
			mu.Lock()
			shared++
			if shared%1000 == 0 {
				runtime.Gosched()
			}
			mu.Unlock()
			time.Sleep(50 * time.Microsecond)
			return nil
		})
	}
}

func (c *crew) addFiles() {
	c.add("files", func(context.Context) error {
		defer time.Sleep(time.Millisecond)
		name := filepath.Join(os.TempDir(), "soak-"+strconv.Itoa(rand.IntN(1000)))
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			return err
		}
		b, err := os.ReadFile(name)
		if err == nil && string(b) != name {
			err = fmt.Errorf("%s holds %q", name, b)
		}
		return errors.Join(err, os.Remove(name))
	})
}

func main() {
	addr := flag.String("addr", ":80", "address to serve at")
	remote := flag.String("remote", "", "address of an echo server elsewhere")
	flag.Parse()
	if err := soak(*addr, *remote); err != nil {
		log.Fatal(err)
	}
}

func soak(addr, remote string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	local, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go echo(local)

	var c crew
	c.addTimers()
	c.addGarbage()
	c.addWaits()
	c.addFiles()
	c.addConnects("connect here", local.Addr().String())
	if remote != "" {
		c.addConnects("connect there", remote)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.FormValue("n"))
		if err != nil || n < 0 || n > 1<<20 {
			http.Error(w, "n", http.StatusBadRequest)
			return
		}
		_, _ = w.Write(bytes.Repeat([]byte{byte(n)}, n)) // the client looks at it
	})
	mux.HandleFunc("/stats", func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewEncoder(w).Encode(c.stats()); err != nil {
			c.fail("stats", err)
		}
	})
	server := &http.Server{Addr: addr, Handler: mux}
	ended := make(chan struct{})
	go func() {
		c.run(ctx)
		close(ended)
	}()
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	select {
	case <-ended:
	case <-last.Done():
		return errors.New("somebody does not come to an end")
	}
	return errors.Join(server.Shutdown(last), local.Close())
}
