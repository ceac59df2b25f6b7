package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"time"
)

// site is the server of both programs.
func site() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s, by %s", r.PathValue("name"), r.Proto)
	})
	mux.HandleFunc("POST /count", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		for i := range 5 {
			fmt.Fprintln(w, "part", i)
			check(http.NewResponseController(w).Flush())
		}
	})
	mux.HandleFunc("GET /gzip", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		must(io.WriteString(z, strings.Repeat("compress me ", 1000)))
		check(z.Close())
	})
	mux.HandleFunc("GET /cookie", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("seen"); err == nil {
			fmt.Fprint(w, "again, ", c.Value)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "once"})
		http.Redirect(w, r, "/cookie", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /panic", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	return mux
}

// visit uses every page of the site at base.
func visit(client *http.Client, base string) {
	get := func(path string) {
		res, err := client.Get(base + path)
		if err != nil {
			show(path, strings.ReplaceAll(err.Error(), base, ""))
			return
		}
		body := must(io.ReadAll(res.Body))
		check(res.Body.Close())
		if len(body) > 80 {
			body = fmt.Appendf(nil, "%d bytes", len(body))
		}
		show(path, res.Status, res.Proto, strings.ReplaceAll(string(body), "\n", "/"))
	}
	for _, path := range []string{"/hello/world", "/stream", "/gzip", "/cookie", "/missing", "/panic"} {
		get(path)
	}
	res := must(client.Post(base+"/count", "text/plain", bytes.NewReader(make([]byte, 5<<20))))
	show("posted", string(must(io.ReadAll(res.Body))), res.Body.Close())

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	req := must(http.NewRequestWithContext(ctx, "GET", base+"/slow", nil))
	_, err := client.Do(req)
	show("timeout", err.(*url.Error).Timeout(), ctx.Err())

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 10 {
				res := must(client.Get(base + "/hello/many"))
				must(io.Copy(io.Discard, res.Body))
				check(res.Body.Close())
			}
		})
	}
	wg.Wait()
}

func httpLoopback() {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	server := &http.Server{Handler: site()}
	ended := make(chan error)
	go func() { ended <- server.Serve(l) }()
	client := &http.Client{Jar: must(cookiejar.New(nil))}
	visit(client, "http://"+l.Addr().String())
	show("shutdown", server.Shutdown(context.Background()), <-ended)
	_, err := client.Get("http://" + l.Addr().String())
	show("gone", err != nil)
}

func httpsLoopback() {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "programs"},
		DNSNames:     []string{"localhost"},
		NotAfter:     time.Now().Add(time.Hour),
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(der)))

	l := must(net.Listen("tcp", "127.0.0.1:0"))
	server := &http.Server{
		Handler:   site(),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	ended := make(chan error)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	check(err)
	for _, http2 := range []bool{false, true} {
		var protocols http.Protocols
		protocols.SetHTTP1(!http2)
		protocols.SetHTTP2(http2)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: &protocols}
		client := &http.Client{Transport: transport, Jar: must(cookiejar.New(nil))}
		visit(client, "https://localhost:"+port)
		transport.CloseIdleConnections()
	}
	_, err = http.Get("https://localhost:" + port)
	show("unknown authority", err != nil)
	show("shutdown", server.Shutdown(context.Background()), <-ended)
}
