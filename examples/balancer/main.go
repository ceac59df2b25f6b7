// Command balancer distributes TCP connections over the backends that are up.
// On SIGTERM or SIGINT it accepts no more connections, lets the open ones
// finish, and ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// settings are the values of the flags.
type settings struct {
	listen   string
	status   string
	backends []string
	policy   string
	check    time.Duration
	drain    time.Duration
}

func main() {
	var s settings
	flag.StringVar(&s.listen, "listen", ":8080", "address to listen on")
	flag.StringVar(&s.status, "status", ":9090", "address of the status page; empty for none")
	backends := flag.String("backends", "", "backends: HOST:PORT,HOST:PORT,...")
	flag.StringVar(&s.policy, "policy", "round-robin", "round-robin or least-connections")
	flag.DurationVar(&s.check, "check", 2*time.Second, "time between health checks")
	flag.DurationVar(&s.drain, "drain", 30*time.Second, "time that open connections have to finish")
	flag.Parse()
	s.backends = strings.FieldsFunc(*backends, func(r rune) bool { return r == ',' })

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, s settings) error {
	pool, err := NewPool(s.backends, s.policy)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	until, end := context.WithCancel(context.Background())
	defer end()
	background.Go(func() { pool.CheckHealth(until, s.check) })
	if s.status != "" {
		page, err := net.Listen("tcp", s.status)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		server := &http.Server{Handler: statusPage(pool), ReadHeaderTimeout: 5 * time.Second}
		background.Go(func() { log.Printf("status page: %v", server.Serve(page)) })
		defer closeAll(server)
	}

	log.Printf("listening on %s: %s over %d backends", l.Addr(), s.policy, len(s.backends))
	b := &Balancer{Pool: pool, DialTimeout: 2 * time.Second}
	context.AfterFunc(ctx, func() { closeAll(l) })
	if err := b.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	log.Printf("draining %d connections", b.Open())
	if cut := b.Drain(s.drain); cut > 0 {
		return fmt.Errorf("%d connections were still open after %v", cut, s.drain)
	}
	return nil
}

// statusPage shows one line per backend.
func statusPage(p *Pool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, b := range p.Backends() {
			fmt.Fprintf(w, "%s up=%v open=%d total=%d failed=%d\n", b.Addr, b.Up, b.Open, b.Total, b.Failed)
		}
	})
}
