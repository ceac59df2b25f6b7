// Command firewall is a stateful packet filter between published ports and the
// services behind them. A rules file defines what it forwards and which sources
// it admits. A page shows its counters.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	file := flag.String("rules", "/etc/firewall.rules", "rules file")
	status := flag.String("status", ":9090", "address of the counters page; empty for none")
	idle := flag.Duration("idle", time.Minute, "time after which a UDP flow without packets ends")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q; see -help", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *file, *status, *idle); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, file, status string, idle time.Duration) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	policy, err := ParsePolicy(os.ExpandEnv(string(text)))
	if err != nil {
		return fmt.Errorf("%s:%w", file, err)
	}
	// The first part that fails ends the others.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(policy.Forwards)+1)
	var parts sync.WaitGroup
	start := func(what string, part func() error) {
		parts.Go(func() {
			if err := part(); err != nil {
				errs <- fmt.Errorf("%s: %w", what, err)
				cancel()
			}
		})
	}
	for _, f := range policy.Forwards {
		start("forward "+f.String(), func() error {
			if f.Proto == UDP {
				return forwardUDP(ctx, f, policy, idle)
			}
			return forwardTCP(ctx, f, policy)
		})
	}
	if status != "" {
		start("counters page", func() error { return servePage(ctx, status, policy) })
	}
	log.Printf("%d forwards, %d rules", len(policy.Forwards), len(policy.Rules))
	parts.Wait()
	close(errs)
	return <-errs
}

// servePage serves the counters as text until ctx ends.
func servePage(ctx context.Context, addr string, p *Policy) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) { p.WriteCounters(w) })
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		if err := server.Close(); err != nil {
			log.Printf("counters page: %v", err)
		}
	})
	defer stop()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// WriteCounters writes one line per forward and per rule.
func (p *Policy) WriteCounters(w io.Writer) {
	for _, f := range p.Forwards {
		fmt.Fprintf(w, "forward %v flows=%d open=%d in=%d out=%d failed=%d\n",
			f, f.Flows.Load(), f.Open.Load(), f.In.Load(), f.Out.Load(), f.Failed.Load())
	}
	for n, r := range p.Rules {
		fmt.Fprintf(w, "rule %d hits=%d %v\n", n+1, r.Hits.Load(), r)
	}
	fmt.Fprintf(w, "default deny hits=%d\n", p.Defaulted.Load())
}
