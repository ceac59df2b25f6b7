package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// echoTCP starts an upstream that echoes each connection until its end. It
// returns the port.
func echoTCP(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(l) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer closeAll(c)
				if _, err := io.Copy(c, c); err != nil {
					t.Logf("upstream: %v", err)
				}
			}()
		}
	}()
	return port(l.Addr())
}

// echoUDP starts an upstream that echoes each datagram. It returns the port.
func echoUDP(t *testing.T) string {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(c) })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := c.WriteTo(buf[:n], from); err != nil {
				return
			}
		}
	}()
	return port(c.LocalAddr())
}

func port(a net.Addr) string {
	_, p, _ := strings.Cut(a.String(), ":")
	return p
}

// exchange sends data and returns the reply.
func exchange(addr string, data []byte) ([]byte, error) {
	c, err := net.DialTimeout("tcp", addr, harness.Timeout)
	if err != nil {
		return nil, err
	}
	defer closeAll(c)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		if err == nil {
			err = c.(*net.TCPConn).CloseWrite()
		}
		sent <- err
	}()
	back, err := io.ReadAll(c)
	if err == nil {
		err = <-sent
	}
	return back, err
}

func TestFiltersAndForwards(t *testing.T) {
	echo := "${host}:" + echoTCP(t)
	program := harness.Program{
		Package: ".",
		Args:    []string{"-rules", "${root}/etc/firewall.rules", "-status", ":${port:9090}"},
		Env: []string{
			"WEB_PORT=${port:8080}", "LOGIN_PORT=${port:2222}", "ADMIN_PORT=${port:8443}", "DNS_PORT=${port:5353/udp}",
			"WEB=" + echo, "LOGIN=" + echo, "ADMIN=" + echo, "DNS=${host}:" + echoUDP(t),
		},
		Files: map[string]string{"/etc/firewall.rules": "firewall.rules"},
		Ports: []string{"9090", "8080", "2222", "8443", "5353/udp"},
	}
	harness.Serve(t, program, 0, func(t *testing.T, i *harness.Instance) {
		large := bytes.Repeat([]byte("payload "), 1<<16)
		if err := i.AwaitTCP(harness.Timeout, "8080"); err != nil {
			t.Fatal(err)
		}

		t.Run("an admitted connection transfers data both ways", func(t *testing.T) {
			back, err := exchange(i.Addr("8080"), large)
			if err != nil || !bytes.Equal(back, large) {
				t.Errorf("%d of %d bytes returned: %v", len(back), len(large), err)
			}
		})
		t.Run("a denied source gets no data", func(t *testing.T) {
			if back, err := exchange(i.Addr("8443"), []byte("x")); err == nil && len(back) > 0 {
				t.Errorf("the firewall passed %q", back)
			}
		})
		t.Run("a source over its rate gets no data", func(t *testing.T) {
			passed := 0
			for range 6 {
				if back, err := exchange(i.Addr("2222"), []byte("x")); err == nil && string(back) == "x" {
					passed++
				}
			}
			if passed != 3 {
				t.Errorf("%d of 6 connections passed, want 3", passed)
			}
		})
		t.Run("a flow transfers datagrams both ways", func(t *testing.T) { checkUDP(t, i.Addr("5353/udp")) })

		// One of the two web flows is the connection of AwaitTCP.
		checkCounters(t, i,
			fmt.Sprintf("flows=2 open=0 in=%d out=%d", len(large), len(large)),
			"flows=3 open=0 in=3 out=3",
			"hits=0 deny from 192.0.2.0/24",
			"hits=3 allow tcp port",
			"hits=0 allow tcp from 192.168.77.0/24",
			"hits=4 deny tcp log")
	})
}

// checkCounters waits until the counters page has all of want. The counters
// change a moment after the client of the last connection sees its end.
func checkCounters(t *testing.T, i *harness.Instance, want ...string) {
	t.Helper()
	err := i.Await(harness.Timeout, func() error {
		counters := page(t, i.Addr("9090"))
		for _, w := range want {
			if !strings.Contains(counters, w) {
				return fmt.Errorf("%q is missing in the counters:\n%s", w, counters)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func checkUDP(t *testing.T, addr string) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(c)
	buf := make([]byte, 2000)
	for n := range 20 {
		want := fmt.Sprintf("query %d %s", n, strings.Repeat("x", 50*n))
		deadline := time.Now().Add(harness.Timeout)
		for {
			// A datagram may be lost: ask again, as a resolver does.
			if _, err := c.Write([]byte(want)); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Read(buf); err == nil && string(buf[:got]) == want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no reply to query %d", n)
			}
		}
	}
}

func page(t *testing.T, addr string) string {
	res, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(res.Body)
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestInvalidRulesEndTheProgram(t *testing.T) {
	program := harness.Program{
		Package: ".",
		Args:    []string{"-rules", "${root}/etc/firewall.rules"},
		Files:   map[string]string{"/etc/firewall.rules": "testdata/bad.rules"},
	}
	harness.Each(t, program, func(t *testing.T, i *harness.Instance) {
		code, err := i.Wait(harness.Timeout)
		if err != nil || code != 1 {
			t.Errorf("exit code %d, %v", code, err)
		}
		if want := `/etc/firewall.rules:2: unknown keyword "everything"`; !strings.Contains(i.Stderr(), want) {
			t.Errorf("stderr is %q, want %q", i.Stderr(), want)
		}
	})
}
