// Command guest is what the Linux guest of the tests runs.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
)

func main() {
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello")
	})
	// Data is the numbers of its 64-byte blocks, the low bits.
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = byte(i / 64)
	}
	// What comes is compared and counted.
	http.HandleFunc("POST /sink", func(w http.ResponseWriter, r *http.Request) {
		n, got := 0, make([]byte, 32<<10)
		for {
			m, err := r.Body.Read(got)
			for b := got[:m]; len(b) > 0; {
				want := block[n%len(block):]
				part := min(len(b), len(want))
				if !bytes.Equal(b[:part], want[:part]) {
					http.Error(w, fmt.Sprintf("other data from byte %d on", n), http.StatusBadRequest)
					return
				}
				b, n = b[part:], n+part
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		fmt.Fprint(w, n)
	})
	// So many bytes are the answer.
	http.HandleFunc("GET /source/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for n > 0 {
			m, err := w.Write(block[:min(n, len(block))])
			if err != nil {
				return
			}
			n -= m
		}
	})
	log.Print("listening")
	log.Fatal(http.ListenAndServe(":8080", nil))
}
