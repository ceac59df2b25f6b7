// Command web is a small net/http server. It serves a greeting from the
// environment, and a page that html/template renders from an embedded file. It
// shuts down gracefully on SIGINT and SIGTERM.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed page.html
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

func main() {
	addr := flag.String("addr", ":80", "address to listen on")
	name := flag.String("name", "world", "name to greet")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *addr, newHandler(greeting(), *name)); err != nil {
		log.Fatal(err)
	}
}

// greeting returns the greeting of the environment, or an English one.
func greeting() string {
	if g := os.Getenv("GREETING"); g != "" {
		return g
	}
	return "Hello"
}

// newHandler serves the greeting as text at / and as a page at /page.
func newHandler(greeting, name string) http.Handler {
	var visits atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		visits.Add(1)
		fmt.Fprintf(w, "%s, %s!\n", greeting, name)
	})
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		err := page.Execute(w, map[string]any{
			"Greeting": greeting,
			"Name":     name,
			"Visits":   visits.Load(),
			"Go":       runtime.Version(),
		})
		if err != nil {
			log.Printf("page for %s: %v", r.RemoteAddr, err)
		}
	})
	return mux
}

// serve serves until ctx ends. It answers requests in flight before it returns.
func serve(ctx context.Context, addr string, h http.Handler) error {
	server := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second}
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		drained <- server.Shutdown(drain)
	}()
	log.Printf("listening on %s", addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}
