// Command h2spec is an HTTPS server of net/http for the HTTP/2 conformance suite of
// that name: / answers GET and POST.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"
)

// page is longer than the window that a connection begins with, 65535 bytes
// (RFC 9113, section 6.9.2).
var page = strings.Repeat("0123456789abcdef", 6<<10)

// answer reads the whole request before it answers, so that no stream ends while
// the client still sends.
func answer(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := io.WriteString(w, page); err != nil {
		log.Print(err)
	}
}

// certificate makes a self-signed certificate.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func main() {
	addr := flag.String("addr", ":443", "address to listen on")
	flag.Parse()
	cert, err := certificate()
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	server := &http.Server{
		Addr:      *addr,
		Handler:   http.HandlerFunc(answer),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		// The suite takes the protocol's first value for the one in force and
		// sends one byte more; net/http's own is 1 MiB.
		HTTP2: &http.HTTP2Config{MaxReadFrameSize: 16 << 10},
	}
	context.AfterFunc(ctx, func() { log.Print(server.Close()) })
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
