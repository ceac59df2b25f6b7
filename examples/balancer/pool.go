package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"sync"
	"time"
)

// Backend is a server and its state.
type Backend struct {
	Addr   string
	Up     bool
	Open   int // open connections
	Total  int // connections so far
	Failed int // connections that it did not accept
}

// Pool selects backends.
type Pool struct {
	choose func(up []*Backend, turn int) *Backend

	mu       sync.Mutex
	backends []*Backend
	turn     int
}

// errNoBackend means that no backend is up.
var errNoBackend = errors.New("no backend is up")

// NewPool returns a pool of the backends at addrs. All of them count as up
// until a health check or a connection fails.
func NewPool(addrs []string, policy string) (*Pool, error) {
	p := new(Pool)
	switch policy {
	case "round-robin":
		p.choose = func(up []*Backend, turn int) *Backend { return up[turn%len(up)] }
	case "least-connections":
		p.choose = leastConnections
	default:
		return nil, fmt.Errorf("policy %q: want round-robin or least-connections", policy)
	}
	for _, a := range addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, fmt.Errorf("backend: %w", err)
		}
		p.backends = append(p.backends, &Backend{Addr: a, Up: true})
	}
	if len(p.backends) == 0 {
		return nil, errors.New("no backends; specify them with -backends HOST:PORT,HOST:PORT")
	}
	return p, nil
}

// leastConnections selects a backend with the fewest connections. If there are
// several, they take turns.
func leastConnections(up []*Backend, turn int) *Backend {
	best := up[turn%len(up)]
	for n := range up {
		if b := up[(turn+n)%len(up)]; b.Open < best.Open {
			best = b
		}
	}
	return best
}

// Acquire selects a backend that is up and adds a connection to it.
func (p *Pool) Acquire() (*Backend, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var up []*Backend
	for _, b := range p.backends {
		if b.Up {
			up = append(up, b)
		}
	}
	if len(up) == 0 {
		return nil, errNoBackend
	}
	b := p.choose(up, p.turn)
	p.turn++
	b.Open++
	b.Total++
	return b, nil
}

// Release removes a connection from b.
func (p *Pool) Release(b *Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.Open--
}

// Fail removes a connection that b did not accept. b is down until a health
// check succeeds.
func (p *Pool) Fail(b *Backend, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.Open--
	b.Total--
	b.Failed++
	p.setUp(b, err)
}

// setUp records whether b is up. err is nil, or the reason why b is down.
func (p *Pool) setUp(b *Backend, err error) {
	up := err == nil
	if b.Up == up {
		return
	}
	b.Up = up
	if up {
		log.Printf("%s is up", b.Addr)
	} else {
		log.Printf("%s is down: %v", b.Addr, err)
	}
}

// Backends returns a copy of the current state.
func (p *Pool) Backends() []Backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Backend, len(p.backends))
	for n, b := range p.backends {
		list[n] = *b
	}
	return list
}

// CheckHealth connects to every backend once per interval, until ctx ends. A
// backend that accepts the connection is up.
func (p *Pool) CheckHealth(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	dialer := net.Dialer{Timeout: interval}
	for {
		var wg sync.WaitGroup
		for _, b := range p.backends {
			wg.Go(func() {
				c, err := dialer.DialContext(ctx, "tcp", b.Addr)
				if ctx.Err() != nil {
					return
				}
				if err == nil {
					closeAll(c)
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				p.setUp(b, err)
			})
		}
		wg.Wait()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
