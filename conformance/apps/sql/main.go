// Command sql serves accounts kept in an SQLite database with a write-ahead
// log: shared memory, byte-range locks, many readers beside a writer.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"

	_ "modernc.org/sqlite"
)

const schema = `
	CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0)) STRICT;
	CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, source TEXT, target TEXT, cents INTEGER);
	CREATE INDEX IF NOT EXISTS by_source ON journal (source);
	INSERT OR IGNORE INTO account VALUES ('alice', 100000), ('bob', 0), ('carol', 0);`

func main() {
	addr := flag.String("addr", ":80", "address to listen on")
	path := flag.String("db", "/tmp/accounts.db", "database file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *addr, *path); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.Exec(schema); err != nil {
		return err
	}
	server := &http.Server{Addr: addr, Handler: handler(db)}
	context.AfterFunc(ctx, func() { log.Print(server.Close()) })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(db *sql.DB) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(w io.Writer, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		})
	}
	handle("POST /transfer", func(w io.Writer, r *http.Request) error {
		return transfer(r.Context(), db, r.FormValue("from"), r.FormValue("to"), r.FormValue("cents"))
	})
	// value answers with the single value of a query.
	value := func(pattern, query string) {
		handle(pattern, func(w io.Writer, r *http.Request) error {
			var v any
			if err := db.QueryRowContext(r.Context(), query).Scan(&v); err != nil {
				return err
			}
			_, err := fmt.Fprint(w, v)
			return err
		})
	}
	value("GET /total", `SELECT sum(cents) FROM account`)
	value("GET /journal", `SELECT count(*) FROM journal`)
	value("GET /mode", `PRAGMA journal_mode`)
	value("GET /check", `PRAGMA integrity_check`)
	value("GET /window", `SELECT group_concat(name || '=' || rank, ' ') FROM
		(SELECT name, rank() OVER (ORDER BY cents DESC, name) AS rank FROM account ORDER BY name)`)
	handle("POST /checkpoint", func(w io.Writer, r *http.Request) error {
		var busy, pages, moved int
		if err := db.QueryRowContext(r.Context(), `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &moved); err != nil {
			return err
		}
		_, err := fmt.Fprint(w, "busy=", busy)
		return err
	})
	return mux
}

// transfer moves money, all of it or nothing.
func transfer(ctx context.Context, db *sql.DB, from, to, cents string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`UPDATE account SET cents = cents + CAST(? AS INTEGER) WHERE name = ?`, []any{cents, to}},
		{`INSERT INTO journal (source, target, cents) VALUES (?, ?, ?)`, []any{from, to, cents}},
		{`UPDATE account SET cents = cents - CAST(? AS INTEGER) WHERE name = ?`, []any{cents, from}},
	} {
		if _, err := tx.ExecContext(ctx, step.query, step.args...); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
