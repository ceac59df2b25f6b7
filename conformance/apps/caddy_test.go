package apps

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestCaddy(t *testing.T) {
	long(t)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s %s with %d bytes, %v, for %v", r.Method, r.URL.Path, n, err, r.Header.Get("X-Forwarded-For") != "")
	}))
	defer upstream.Close()
	_, port, err := net.SplitHostPort(upstream.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	program := harness.Program{
		Package: "github.com/caddyserver/caddy/v2/cmd/caddy",
		Args:    []string{"run", "--config", "${root}/etc/caddy/Caddyfile"},
		Env: []string{
			"ROOT=${root}", "XDG_DATA_HOME=${root}/tmp", "XDG_CONFIG_HOME=${root}/tmp",
			"HTTP_PORT=${port:80}", "HTTPS_PORT=${port:443}", "UPSTREAM=${host}:" + port,
		},
		Files: map[string]string{"/etc/caddy/Caddyfile": "testdata/Caddyfile", "/srv": "testdata/site"},
		Ports: []string{"80", "443"},
	}
	harness.Serve(t, program, 0, func(t *testing.T, i *harness.Instance) {
		base := "http://" + i.Addr("80")
		t.Run("static files", func(t *testing.T) { checkStatic(t, base) })
		t.Run("reverse proxy", func(t *testing.T) {
			expect(t, "GET", base+"/api/things", "", "GET /things with 0 bytes, <nil>, for true")
			expect(t, "POST", base+"/api/up", strings.Repeat("x", 3<<20), "POST /up with 3145728 bytes, <nil>, for true")
		})
		t.Run("HTTP/2 without TLS", func(t *testing.T) {
			var p http.Protocols
			p.SetUnencryptedHTTP2(true)
			checkHTTP2(t, &http.Client{Transport: &http.Transport{Protocols: &p}}, base+"/docs/1.txt", "page 1\n")
		})
		t.Run("HTTP/2 over TLS of a local authority", func(t *testing.T) {
			checkHTTP2(t, trusting(t, i, base), "https://localhost/hello", "hello by HTTP/2.0")
		})
		t.Run("what did not change is not sent again", func(t *testing.T) { checkNotModified(t, base+"/root.crt") })
	})
}

func checkStatic(t *testing.T, base string) {
	expect(t, "GET", base+"/docs/2.txt", "", "page 2\n")
	refused(t, "GET", base+"/none", "404")
	refused(t, "GET", base+"/../../etc/caddy/Caddyfile", "404")
	if list, err := request("GET", base+"/docs/", ""); err != nil || !strings.Contains(list, "3.txt") {
		t.Errorf("folder: %v\n%s", err, list)
	}
	req, err := http.NewRequest("GET", base+"/docs/1.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes=5-5")
	res, err := http.DefaultClient.Do(req)
	if body, err := answer(res, err); err != nil || body != "1" || res.StatusCode != http.StatusPartialContent {
		t.Errorf("range: %q, %v", body, err)
	}
}

// checkNotModified asks again for a file that the client has. It is one that
// the program wrote: files of an image's root have no time of their own, and
// without one Caddy sends no tag.
func checkNotModified(t *testing.T, url string) {
	res, err := http.Get(url)
	if _, err := answer(res, err); err != nil {
		t.Fatal(err)
	}
	again, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Header.Set("If-None-Match", res.Header.Get("Etag"))
	res, err = http.DefaultClient.Do(again)
	if body, err := answer(res, err); err != nil || body != "" || res.StatusCode != http.StatusNotModified {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

// trusting is a client that trusts Caddy's local authority and no other, and
// finds localhost at the published port.
func trusting(t *testing.T, i *harness.Instance, base string) *http.Client {
	var root string
	err := i.Await(harness.Timeout, func() (err error) {
		root, err = request("GET", base+"/root.crt", "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(root)) {
		t.Fatalf("no certificate: %q", root)
	}
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "localhost"},
		ForceAttemptHTTP2: true,
	}
	var d net.Dialer
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, i.Addr("443"))
	}
	client := &http.Client{Transport: tr}
	// The certificate is made in the background.
	err = i.Await(harness.Timeout, func() error {
		_, err := answer(client.Get("https://localhost/hello"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// checkHTTP2 makes many requests at once, which share a connection.
func checkHTTP2(t *testing.T, client *http.Client, url, want string) {
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			res, err := client.Get(url)
			body, err := answer(res, err)
			if err != nil || res.ProtoMajor != 2 || body != want {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	wg.Wait()
}
