package main

import (
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"time"
)

// Balancer connects each accepted connection with one to a backend.
type Balancer struct {
	Pool        *Pool
	DialTimeout time.Duration

	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[net.Conn]struct{} // accepted connections
}

// Serve accepts connections until l is closed. It returns the error of Accept.
func (b *Balancer) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		b.track(c)
		b.wg.Go(func() {
			defer b.untrack(c)
			b.handle(c.(*net.TCPConn))
		})
	}
}

func (b *Balancer) track(c net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = make(map[net.Conn]struct{})
	}
	b.open[c] = struct{}{}
}

func (b *Balancer) untrack(c net.Conn) {
	closeAll(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, c)
}

// Open returns the number of open connections.
func (b *Balancer) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}

// Drain waits until all connections have ended. After limit it closes the
// remaining ones. It returns how many it closed. Serve must have returned
// before the call.
func (b *Balancer) Drain(limit time.Duration) (cut int) {
	done := make(chan struct{})
	go func() {
		b.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return 0
	case <-time.After(limit):
	}
	b.mu.Lock()
	for c := range b.open {
		closeAll(c)
		cut++
	}
	b.mu.Unlock()
	<-done
	return cut
}

// handle connects c to a backend. If a backend does not accept, it tries the
// next one, until no backend is up. The client only notices the delay.
func (b *Balancer) handle(c *net.TCPConn) {
	for {
		backend, err := b.Pool.Acquire()
		if err != nil {
			log.Printf("%v: %v", c.RemoteAddr(), err)
			return
		}
		up, err := net.DialTimeout("tcp", backend.Addr, b.DialTimeout)
		if err != nil {
			b.Pool.Fail(backend, err)
			continue
		}
		join(c, up.(*net.TCPConn))
		b.Pool.Release(backend)
		return
	}
}

// join copies data both ways, and passes on each end of stream, until both
// directions have ended.
func join(a, b *net.TCPConn) {
	var wg sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		to, from := way[0], way[1]
		wg.Go(func() {
			_, err := io.Copy(to, from)
			if err == nil {
				err = to.CloseWrite()
			}
			if err != nil {
				closeAll(a, b) // the other direction cannot succeed any more; this ends it
			}
		})
	}
	wg.Wait()
	closeAll(a, b)
}

// closeAll closes connections. It ignores those that are already closed.
func closeAll(list ...io.Closer) {
	for _, c := range list {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Printf("close: %v", err)
		}
	}
}
