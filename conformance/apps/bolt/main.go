// Command bolt serves a bbolt database over HTTP: the file is memory-mapped,
// locked with flock, grown, written with pwrite and fdatasync.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"go.etcd.io/bbolt"
)

var bucket = []byte("entries")

func main() {
	addr := flag.String("addr", ":80", "address to listen on")
	path := flag.String("db", "/tmp/bolt.db", "database file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *addr, *path); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr, path string) (err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return err
	}
	server := &http.Server{Addr: addr, Handler: handler(db)}
	context.AfterFunc(ctx, func() { log.Print(server.Close()) })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(db *bbolt.DB) http.Handler {
	mux := http.NewServeMux()
	// handle answers with what f writes, or with its error.
	handle := func(pattern string, f func(w io.Writer, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		})
	}
	handle("GET /{key}", func(w io.Writer, r *http.Request) error {
		return db.View(func(tx *bbolt.Tx) error {
			_, err := w.Write(tx.Bucket(bucket).Get([]byte(r.PathValue("key"))))
			return err
		})
	})
	handle("PUT /{key}", func(w io.Writer, r *http.Request) error {
		value, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucket).Put([]byte(r.PathValue("key")), value)
		})
	})
	// Many entries in one transaction; with ?fail it is rolled back.
	handle("POST /fill/{n}", func(w io.Writer, r *http.Request) error {
		var n int
		if _, err := fmt.Sscan(r.PathValue("n"), &n); err != nil {
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error {
			value := make([]byte, 512)
			for i := range n {
				if err := tx.Bucket(bucket).Put(fmt.Appendf(nil, "fill-%06d", i), value); err != nil {
					return err
				}
			}
			if r.URL.Query().Has("fail") {
				return errors.New("rolled back")
			}
			return nil
		})
	})
	handle("GET /stats/all", func(w io.Writer, r *http.Request) error {
		return db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			_, err := fmt.Fprintf(w, "keys=%d size=%d", tx.Bucket(bucket).Stats().KeyN, tx.Size())
			return err
		})
	})
	// A second open must find the file locked.
	handle("POST /lock/try", func(w io.Writer, r *http.Request) error {
		_, err := bbolt.Open(db.Path(), 0o600, &bbolt.Options{Timeout: 50 * time.Millisecond})
		return err
	})
	return mux
}
