package gateway

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// udpEcho starts a server on the host's loopback interface that returns datagrams.
func udpEcho(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Skip("no such address on this host:", err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(buf[:n], from)
		}
	}()
	return pc.(*net.UDPConn)
}

func portOf(c interface{ LocalAddr() net.Addr }) uint16 {
	return netip.MustParseAddrPort(c.LocalAddr().String()).Port()
}

func datagram(c net.Conn, msg []byte) error {
	if _, err := c.Write(msg); err != nil {
		return err
	}
	got := make([]byte, 65536)
	n, err := c.Read(got)
	if err != nil {
		return err
	}
	if !bytes.Equal(got[:n], msg) {
		return fmt.Errorf("got %d bytes that differ from the %d sent", n, len(msg))
	}
	return nil
}

func TestUDPRoundTrip(t *testing.T) {
	g, v := newGuest(t, Config{})
	for _, tt := range []struct {
		name, listen string
		gateway      netip.Addr
	}{
		{"IPv4", "127.0.0.1:0", g.addrs.gateway4},
		{"IPv6", "[::1]:0", g.addrs.gateway6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := portOf(udpEcho(t, tt.listen))
			c := v.dialUDP(t, 0, netip.AddrPortFrom(tt.gateway, port))
			for _, size := range []int{1, 0, 1472, 1473, 9000, 60000} {
				if err := datagram(c, bytes.Repeat([]byte{byte(size), 7}, (size+1)/2)[:size]); err != nil {
					t.Errorf("%d bytes: %v", size, err)
				}
			}
		})
	}
}

func TestUDPPortUnreachable(t *testing.T) {
	g, v := newGuest(t, Config{})
	echo := udpEcho(t, "127.0.0.1:0")
	port := portOf(echo)
	echo.Close()
	c := v.dialUDP(t, 0, netip.AddrPortFrom(g.addrs.gateway4, port))
	// The refusal arrives after the write, and the next operation reports it.
	eventually(t, "a refusal", func() bool {
		_, err := c.Write([]byte("anyone?"))
		return err != nil && strings.Contains(err.Error(), "refused")
	})
}

func TestUDPFlowsAreBoundedAndExpire(t *testing.T) {
	const most = 8
	g, v := newGuest(t, Config{MaxUDP: most, UDPTimeout: 400 * time.Millisecond})
	dst := netip.AddrPortFrom(g.addrs.gateway4, portOf(udpEcho(t, "127.0.0.1:0")))
	for i := range 4 * most {
		if err := datagram(v.dialUDP(t, 0, dst), []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		g.flows.mu.RLock()
		n := len(g.flows.flows)
		g.flows.mu.RUnlock()
		if n > most {
			t.Fatalf("%d flows", n)
		}
	}
	eventually(t, "no flow is left", func() bool {
		g.flows.mu.RLock()
		defer g.flows.mu.RUnlock()
		return len(g.flows.flows) == 0
	})
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this did not happen in 10 seconds: %s", what)
		}
	}
}

func TestPublishedUDP(t *testing.T) {
	for _, tt := range []struct{ name, bind, client string }{
		{"one address", "127.0.0.1:0", "127.0.0.1"},
		{"all addresses, by one that is not the first", ":0", "127.0.0.2"},
		{"IPv6", "[::1]:0", "::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, v := newGuest(t, Config{})
			var lc *gonet.UDPConn
			guest := g.addrs.guest4
			if strings.Contains(tt.client, ":") {
				guest = g.addrs.guest6
			}
			local := full(netip.AddrPortFrom(guest, 7))
			lc, err := gonet.DialUDP(v.stack, &local, nil, protocolOf(guest))
			if err != nil {
				t.Fatal(err)
			}
			defer lc.Close()
			go func() {
				buf := make([]byte, 65536)
				for {
					n, from, err := lc.ReadFrom(buf)
					if err != nil {
						return
					}
					lc.WriteTo(buf[:n], from)
				}
			}()
			bound, err := g.Publish("udp", tt.bind, 7)
			if err != nil {
				t.Skip("cannot bind:", err)
			}
			for range 3 { // concurrent clients
				c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(tt.client), bound.Port()).String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				for _, size := range []int{1, 1472, 20000} {
					if err := datagram(c, bytes.Repeat([]byte{'x'}, size)); err != nil {
						t.Errorf("%d bytes: %v", size, err)
					}
				}
			}
		})
	}
}

func TestPublishedTCP(t *testing.T) {
	g, v := newGuest(t, Config{})
	l, err := gonet.ListenTCP(v.stack, full(netip.AddrPortFrom(g.addrs.guest4, 80)), protocolOf(g.addrs.guest4))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peers := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			peers <- c.RemoteAddr().String()
			go func() {
				defer c.Close()
				buf := make([]byte, 64)
				n, _ := c.Read(buf)
				c.Write(buf[:n])
			}()
		}
	}()
	bound, err := g.Publish("tcp", "127.0.0.1:0", 80)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", bound.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := roundTrip(c, "hello"); err != nil {
		t.Error(err)
	}
	if got, want := <-peers, fmt.Sprintf("10.0.2.2:%d", portOf(c)); got != want {
		t.Errorf("the guest's peer is %s, want %s", got, want)
	}

	t.Run("a client by IPv6 of a program that listens on IPv4", func(t *testing.T) {
		bound, err := g.Publish("tcp", "[::1]:0", 80)
		if err != nil {
			t.Skip("cannot bind:", err)
		}
		c, err := net.Dial("tcp", bound.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := roundTrip(c, "hello"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a guest's port without a listener", func(t *testing.T) {
		bound, err := g.Publish("tcp", "127.0.0.1:0", 81)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", bound.String())
		if err == nil {
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			_, err = c.Read(make([]byte, 1))
		}
		if !isReset(err) {
			t.Errorf("the client's error: %v", err)
		}
	})
}

func TestPublishSaysWhatToDo(t *testing.T) {
	g, _ := newGuest(t, Config{})
	l, addr := listenHost(t, g, false)
	defer l.Close()
	taken := fmt.Sprintf("127.0.0.1:%d", addr.Port())
	_, err := g.Publish("tcp", taken, 80)
	want := "publish " + taken + ": address already in use: choose another host port with -p"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = g.Publish("udp", "192.0.2.1:5000", 80)
	if err == nil || !strings.Contains(err.Error(), "no such address") {
		t.Errorf("got %v", err)
	}
	if _, err := g.Publish("sctp", "127.0.0.1:0", 80); err == nil {
		t.Error("Publish accepts sctp")
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := g.Publish("tcp", "127.0.0.1:0", 80); err == nil {
		t.Error("a closed gateway publishes a port")
	}
}
