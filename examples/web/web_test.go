package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

var program = harness.Program{
	Package: ".",
	Args:    []string{"-addr", ":${port:80}", "-name", "<Welt>"},
	Env:     []string{"GREETING=Grüß Gott"},
	Ports:   []string{"80"},
}

func get(url string) (status int, body string, err error) {
	res, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), err
}

func TestServes(t *testing.T) {
	harness.Serve(t, program, 0, func(t *testing.T, i *harness.Instance) {
		for _, tc := range []struct {
			path   string
			status int
			body   string
		}{
			{"/", 200, "Grüß Gott, <Welt>!\n"},
			{"/page", 200, "<h1>Grüß Gott, &lt;Welt&gt;!</h1>"},
			{"/none", 404, "not found"},
		} {
			status, body, err := get("http://" + i.Addr("80") + tc.path)
			if err != nil || status != tc.status || !strings.Contains(body, tc.body) {
				t.Errorf("%s: %d %q %v", tc.path, status, body, err)
			}
		}
	})
}

func TestConcurrentClients(t *testing.T) {
	harness.Serve(t, program, 0, func(t *testing.T, i *harness.Instance) {
		const clients, each = 20, 25
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				for range each {
					if status, _, err := get("http://" + i.Addr("80")); err != nil || status != 200 {
						t.Errorf("status %d, %v", status, err)
						return
					}
				}
			})
		}
		wg.Wait()
		_, body, err := get("http://" + i.Addr("80") + "/page")
		if want := fmt.Sprint(clients*each, " greetings"); err != nil || !strings.Contains(body, want) {
			t.Errorf("%q is missing in the page: %q, %v", want, body, err)
		}
	})
}
