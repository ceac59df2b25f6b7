package gateway

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/policy"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// echoServer sends back what each connection sends.
func echoServer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			// The structs hide the TCPConns, for which package net would keep pipes open.
			io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		}()
	}
}

func roundTrip(c net.Conn, msg string) error {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, msg); err != nil {
		return err
	}
	got := make([]byte, len(msg))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != msg {
		return fmt.Errorf("got %q, want %q", got, msg)
	}
	return nil
}

func TestGuestReachesHostLoopback(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[v6], func(t *testing.T) {
			g, v := newGuest(t, Config{})
			l, addr := listenHost(t, g, v6)
			go echoServer(l)
			if err := roundTrip(v.mustDial(t, addr), "hello"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHalfCloseWorksInBothDirections(t *testing.T) {
	g, v := newGuest(t, Config{})
	l, addr := listenHost(t, g, false)
	c := v.mustDial(t, addr)
	h, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.SetDeadline(time.Now().Add(10 * time.Second))
	c.SetDeadline(time.Now().Add(10 * time.Second))

	// The guest ends its direction, and the host can still answer.
	io.WriteString(c, "question")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(h); err != nil || string(got) != "question" {
		t.Fatalf("host read %q, %v", got, err)
	}
	io.WriteString(h, "answer")
	h.Close()
	if got, err := io.ReadAll(c); err != nil || string(got) != "answer" {
		t.Fatalf("guest read %q, %v", got, err)
	}

	// The same in the other direction.
	c = v.mustDial(t, addr)
	h, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	io.WriteString(h, "question")
	h.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "question" {
		t.Fatalf("guest read %q, %v", got, err)
	}
	io.WriteString(c, "answer")
	c.Close()
	if got, err := io.ReadAll(h); err != nil || string(got) != "answer" {
		t.Fatalf("host read %q, %v", got, err)
	}
}

func TestResetReachesTheOtherSide(t *testing.T) {
	g, v := newGuest(t, Config{})
	l, addr := listenHost(t, g, false)

	t.Run("from the host", func(t *testing.T) {
		c := v.mustDial(t, addr)
		h, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		h.(*net.TCPConn).SetLinger(0)
		h.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF || !strings.Contains(err.Error(), "reset") {
			t.Errorf("guest's read: %v", err)
		}
	})
	t.Run("from the guest, while the host's peer does not read", func(t *testing.T) {
		ep, wq := v.dialEndpoint(t, addr)
		h, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		c := gonet.NewTCPConn(wq, ep)
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for { // until all buffers are full
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				break
			}
		}
		ep.Abort()
		h.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, h); !isReset(err) {
			t.Errorf("host's read: %v", err)
		}
	})
}

func isReset(err error) bool {
	return err != nil && strings.Contains(err.Error(), syscall.ECONNRESET.Error())
}

func TestRefusalAndUnreachability(t *testing.T) {
	g, v := newGuest(t, Config{Reach: policy.Options{Rules: []policy.Rule{
		{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, {Prefix: netip.MustParsePrefix("2001:db8::/32"), Port: 80},
	}}})
	l, closed := listenHost(t, g, false)
	l.Close()
	for _, tt := range []struct{ name, addr, want string }{
		{"a closed port", closed.String(), "refused"},
		{"the name server's other ports", "10.0.2.3:80", "refused"},
		{"a denied IPv4 network", "192.0.2.1:80", "refused"},
		{"a denied IPv6 network", "[2001:db8::1]:80", "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			c, err := v.dial(netip.MustParseAddrPort(tt.addr))
			if err == nil {
				c.Close()
				t.Fatal("the connection succeeded")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("the error took %v", d)
			}
		})
	}
}

func TestTargetNeverLeadsToLoopbackUnasked(t *testing.T) {
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, addr := range []string{
		"10.0.2.2", "10.0.2.3", "10.0.2.77", "127.0.0.1", "127.1.2.3", "0.0.0.0", "255.255.255.255", "224.0.0.1",
		"fd00:7069:7468::2", "fd00:7069:7468::3", "fd00:7069:7468::77", "fe80::2", "fe80::1", "::", "::1", "ff02::1",
		"::ffff:127.0.0.1", "::ffff:10.0.2.2",
	} {
		if to, v := g.target(netip.AddrPortFrom(netip.MustParseAddr(addr), 80)); v == allow {
			t.Errorf("%s leads to %s", addr, to)
		}
	}
}

func TestLoopbackCanBeDenied(t *testing.T) {
	g, v := newGuest(t, Config{Reach: policy.Options{Rules: []policy.Rule{{Prefix: netip.MustParsePrefix("10.0.2.2/32")}, {Prefix: netip.MustParsePrefix("fd00:7069:7468::2/128")}}}})
	_, addr := listenHost(t, g, false)
	if c, err := v.dial(addr); err == nil {
		c.Close()
		t.Fatal("the connection succeeded")
	}
}

func TestConcurrentConnections(t *testing.T) {
	const n = 200
	g, v := newGuest(t, Config{})
	l, addr := listenHost(t, g, false)
	go echoServer(l)
	errs := make(chan error, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			c, err := v.dial(addr)
			ready.Done()
			if err != nil {
				errs <- err
				return
			}
			defer c.Close()
			ready.Wait() // all connections are open at once
			for range 10 {
				if err := roundTrip(c, strings.Repeat(fmt.Sprint(i, " "), 1000)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	done.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	g, v := newGuest(t, Config{MaxTCP: 3})
	l, addr := listenHost(t, g, false)
	go echoServer(l)
	var conns []*gonet.TCPConn
	for range 3 {
		conns = append(conns, v.mustDial(t, addr))
	}
	fourth := make(chan error)
	go func() {
		c, err := v.dial(addr)
		if err == nil {
			defer c.Close()
			err = roundTrip(c, "let me in")
		}
		fourth <- err
	}()
	select {
	case err := <-fourth:
		t.Fatalf("a fourth connection succeeded: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	conns[0].Close()
	if err := <-fourth; err != nil {
		t.Errorf("the fourth connection, after one has closed: %v", err)
	}
}

func TestBulkTransferIsIntact(t *testing.T) {
	size := 200 << 20
	if testing.Short() {
		size = 20 << 20
	}
	for _, tt := range []struct {
		name    string
		toHost  bool
		offload bool
		size    int
		cfg     Config
	}{
		{"guest to host", true, true, size, Config{}},
		{"host to guest", false, true, size, Config{}},
		{"guest to host, no offload", true, false, size / 10, Config{}},
		{"host to guest, no offload", false, false, size / 10, Config{}},
		{"guest to host, largest MTU", true, true, size / 10, Config{MTU: 65535}},
		{"host to guest, largest MTU", false, true, size / 10, Config{MTU: 65535}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			size := tt.size
			g, v := newGuestOver(t, tt.cfg, tt.offload)
			l, addr := listenHost(t, g, false)
			c := v.mustDial(t, addr)
			h, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			var from, to net.Conn = c, h
			if !tt.toHost {
				from, to = h, c
			}
			sent := make(chan []byte)
			go func() {
				sum := sha256.New()
				src := io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(size))
				if _, err := io.Copy(from, io.TeeReader(src, sum)); err != nil {
					t.Error(err)
				}
				from.(interface{ CloseWrite() error }).CloseWrite()
				sent <- sum.Sum(nil)
			}()
			sum := sha256.New()
			n, err := io.Copy(sum, to)
			if err != nil || n != int64(size) {
				t.Errorf("received %d of %d bytes, %v", n, size, err)
			}
			if want := <-sent; !bytes.Equal(sum.Sum(nil), want) {
				t.Error("the bytes differ")
			}
		})
	}
}

func TestGatewayServesOneGuestAfterAnother(t *testing.T) {
	checkLeaks(t)
	g, err := New(Config{Reach: policy.Options{HostLoopback: true}})
	if err != nil {
		t.Fatal(err)
	}
	l, addr := listenHost(t, g, false)
	go echoServer(l)
	for range 3 {
		t.Run("guest", func(t *testing.T) {
			v := startGuest(t, g, true)
			if err := roundTrip(v.mustDial(t, addr), "hello"); err != nil {
				t.Error(err)
			}
		})
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}
