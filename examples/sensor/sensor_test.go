package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func program(to string, args ...string) harness.Program {
	return harness.Program{
		Package: ".",
		Args:    append([]string{"-to", to, "-name", "attic, north", "-every", "10ms"}, args...),
	}
}

// collector receives readings over HTTP. It fails the first few requests.
type collector struct {
	fail int

	mu  sync.Mutex
	got []Reading
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail > 0 {
		c.fail--
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	var batch []Reading
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.got = append(c.got, batch...)
}

func (c *collector) readings() []Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

func TestEveryReadingArrivesOnceDespiteFailures(t *testing.T) {
	for _, m := range harness.Selected() {
		t.Run(m.Name, func(t *testing.T) {
			c := &collector{fail: 2}
			server := httptest.NewServer(c)
			defer server.Close()
			_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
			i := harness.Start(t, m, program("http://${host}:"+port+"/readings", "-count", "40"))
			if code, err := i.Wait(harness.Timeout); err != nil || code != 0 {
				t.Fatalf("exit code %d, %v", code, err)
			}
			got := c.readings()
			if len(got) != 40 {
				t.Fatalf("%d readings arrived, want 40", len(got))
			}
			for n, r := range got {
				if r.Seq != n+1 || r.Sensor != "attic, north" || r.Celsius < -20 || r.Celsius > 60 || time.Since(r.Time) > time.Hour {
					t.Errorf("reading %d is %+v", n, r)
				}
			}
		})
	}
}

func TestInterruptFlushes(t *testing.T) {
	for _, m := range harness.Selected() {
		t.Run(m.Name, func(t *testing.T) {
			c := &collector{}
			server := httptest.NewServer(c)
			defer server.Close()
			_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
			i := harness.Start(t, m, program("http://${host}:"+port, "-jitter", "0.5"))
			err := i.Await(harness.Timeout, func() error {
				if n := len(c.readings()); n < 5 {
					return fmt.Errorf("%d readings", n)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if code, err := i.Stop(os.Interrupt, harness.Timeout); err != nil || code != 0 {
				t.Fatalf("exit code %d, %v", code, err)
			}
			if want := fmt.Sprintf("%d readings sent, 0 lost", len(c.readings())); !strings.Contains(i.Stderr(), want) {
				t.Errorf("%q is missing in stderr", want)
			}
		})
	}
}

func TestLineProtocolOverUDP(t *testing.T) {
	line := regexp.MustCompile(`^temperature,sensor=attic\\,\\ north celsius=-?\d+\.\d\d,seq=\d+i \d{19}$`)
	for _, m := range harness.Selected() {
		t.Run(m.Name, func(t *testing.T) {
			l, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			_, port, _ := strings.Cut(l.LocalAddr().String(), ":")
			harness.Start(t, m, program("udp://${host}:"+port))
			if err := l.SetReadDeadline(time.Now().Add(harness.Timeout)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 2000)
			for seen := 0; seen < 10; {
				n, _, err := l.ReadFrom(buf)
				if err != nil {
					t.Fatal(err)
				}
				for got := range strings.Lines(string(buf[:n])) {
					seen++
					if !line.MatchString(strings.TrimSuffix(got, "\n")) {
						t.Errorf("not line protocol: %q", got)
					}
				}
			}
		})
	}
}

// failingSender is a sender that always fails.
type failingSender struct{}

func (failingSender) Send(context.Context, []Reading) error { return errors.New("no collector") }

func TestFullOutboxDropsTheOldest(t *testing.T) {
	o := NewOutbox(failingSender{}, 3)
	for n := range 5 {
		o.Add(Reading{Seq: n})
	}
	if err := o.Flush(t.Context()); err == nil {
		t.Error("Flush returns no error")
	}
	if o.Len() != 3 || o.Lost() != 2 || o.wait[0].Seq != 2 {
		t.Errorf("%d wait, %d lost, first %d", o.Len(), o.Lost(), o.wait[0].Seq)
	}
}

func TestPauses(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for _, most := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		most *= time.Millisecond
		if got := b.Failed(); got < most/2 || got > most {
			t.Errorf("pause %v, want %v to %v", got, most/2, most)
		}
	}
	b.Succeeded()
	if b.Waiting() || b.Failed() > b.Min {
		t.Error("Succeeded does not reset the pause")
	}
	s := Schedule{Every: time.Second, Jitter: 0.1}
	for range 100 {
		if got := s.Next(); got < 900*time.Millisecond || got > 1100*time.Millisecond {
			t.Errorf("pause %v", got)
		}
	}
}
