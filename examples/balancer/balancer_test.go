package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// backend is a server that sends its name and then echoes until the client
// closes its end.
type backend struct {
	name string
	addr string
	l    net.Listener
}

func startBackend(t *testing.T, name, addr string) *backend {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{name, l.Addr().String(), l}
	t.Cleanup(func() { closeAll(l) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer closeAll(c)
				// A health check closes the connection before it reads this.
				if _, err := fmt.Fprintln(c, name); err == nil {
					_, err = io.Copy(c, c)
					if err != nil {
						t.Logf("backend %s: %v", name, err)
					}
				}
			}()
		}
	}()
	return b
}

// inside returns the backend's address as the program reaches it.
func (b *backend) inside() string {
	_, port, _ := strings.Cut(b.addr, ":")
	return "${host}:" + port
}

// client is a connection through the balancer.
type client struct {
	*net.TCPConn
	backend string
}

func connect(addr string) (*client, error) {
	c, err := net.DialTimeout("tcp", addr, harness.Timeout)
	if err != nil {
		return nil, err
	}
	var name []byte
	for b := make([]byte, 1); ; name = append(name, b[0]) {
		if _, err := c.Read(b); err != nil {
			closeAll(c)
			return nil, err
		}
		if b[0] == '\n' {
			return &client{c.(*net.TCPConn), string(name)}, nil
		}
	}
}

// finish sends text, closes its end, and expects the text back.
func (c *client) finish(text string) error {
	defer closeAll(c)
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	back, err := io.ReadAll(c)
	if err == nil && string(back) != text {
		err = fmt.Errorf("the echo has %d bytes, want %d", len(back), len(text))
	}
	return err
}

func program(policy string, backends ...*backend) harness.Program {
	var addrs []string
	for _, b := range backends {
		addrs = append(addrs, b.inside())
	}
	return harness.Program{
		Package: ".",
		Args: []string{
			"-listen", ":${port:8080}", "-status", ":${port:9090}", "-check", "1s",
			"-policy", policy, "-backends", strings.Join(addrs, ","),
		},
		Ports: []string{"9090", "8080"},
	}
}

func TestRoundRobin(t *testing.T) {
	a, b, c := startBackend(t, "a", "127.0.0.1:0"), startBackend(t, "b", "127.0.0.1:0"), startBackend(t, "c", "127.0.0.1:0")
	harness.Serve(t, program("round-robin", a, b, c), 0, func(t *testing.T, i *harness.Instance) {
		served := map[string]int{}
		for range 30 {
			c, err := connect(i.Addr("8080"))
			if err != nil {
				t.Fatal(err)
			}
			served[c.backend]++
			if err := c.finish(strings.Repeat("data ", 20_000)); err != nil {
				t.Error(err)
			}
		}
		if served["a"] != 10 || served["b"] != 10 || served["c"] != 10 {
			t.Errorf("served %v", served)
		}
	})
}

func TestLeastConnections(t *testing.T) {
	a, b := startBackend(t, "a", "127.0.0.1:0"), startBackend(t, "b", "127.0.0.1:0")
	harness.Serve(t, program("least-connections", a, b), 0, func(t *testing.T, i *harness.Instance) {
		held, err := connect(i.Addr("8080"))
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			c, err := connect(i.Addr("8080"))
			if err != nil {
				t.Fatal(err)
			}
			if c.backend == held.backend {
				t.Errorf("backend %s has a connection and got another", c.backend)
			}
			if err := c.finish("x"); err != nil {
				t.Error(err)
			}
			awaitStatus(t, i, map[string]*backend{"a": a, "b": b}[c.backend], "open=0")
		}
		if err := held.finish("x"); err != nil {
			t.Error(err)
		}
	})
}

// awaitStatus waits until the line of b on the status page contains want.
func awaitStatus(t *testing.T, i *harness.Instance, b *backend, want string) {
	t.Helper()
	_, port, _ := strings.Cut(b.addr, ":")
	err := i.Await(harness.Timeout, func() error {
		res, err := http.Get("http://" + i.Addr("9090"))
		if err != nil {
			return err
		}
		defer closeAll(res.Body)
		page, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(page)) {
			if strings.Contains(line, ":"+port+" ") && strings.Contains(line, want) {
				return nil
			}
		}
		return fmt.Errorf("backend %s is not %s:\n%s", b.name, want, page)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDeadBackendsAreSkippedUntilTheyReturn(t *testing.T) {
	for _, m := range harness.Selected() {
		t.Run(m.Name, func(t *testing.T) {
			a, b := startBackend(t, "a", "127.0.0.1:0"), startBackend(t, "b", "127.0.0.1:0")
			i := harness.Start(t, m, program("round-robin", a, b))
			if err := i.AwaitTCP(harness.Timeout, "8080"); err != nil {
				t.Fatal(err)
			}
			closeAll(b.l)
			for range 10 {
				c, err := connect(i.Addr("8080"))
				if err != nil {
					t.Fatalf("a client failed because of a dead backend: %v", err)
				}
				if err := c.finish("x"); err != nil || c.backend != "a" {
					t.Errorf("%s: %v", c.backend, err)
				}
			}
			awaitStatus(t, i, b, "up=false")
			startBackend(t, "b", b.addr)
			awaitStatus(t, i, b, "up=true")
			closeAll(a.l)
			c, err := connect(i.Addr("8080"))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.finish("x"); err != nil || c.backend != "b" {
				t.Errorf("%s: %v", c.backend, err)
			}
		})
	}
}

func TestDrainsOnSIGTERM(t *testing.T) {
	a := startBackend(t, "a", "127.0.0.1:0")
	harness.Each(t, program("round-robin", a), func(t *testing.T, i *harness.Instance) {
		if err := i.AwaitTCP(harness.Timeout, "8080"); err != nil {
			t.Fatal(err)
		}
		held, err := connect(i.Addr("8080"))
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		err = i.Await(harness.Timeout, func() error {
			c, err := net.DialTimeout("tcp", i.Addr("8080"), time.Second)
			if err != nil {
				return nil // refused: the balancer is draining
			}
			closeAll(c)
			return fmt.Errorf("the balancer still accepts connections")
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := held.finish("last data"); err != nil {
			t.Errorf("the open connection could not finish: %v", err)
		}
		if code, err := i.Wait(harness.Timeout); err != nil || code != 0 {
			t.Errorf("exit code %d, %v", code, err)
		}
	})
}
