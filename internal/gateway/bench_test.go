package gateway

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// BenchmarkTCP measures bulk transfer between a host socket and a second stack in
// this process, through the gateway and the link. The second stack costs as much
// time as the gateway.
func BenchmarkTCP(b *testing.B) {
	const chunk = 1 << 20
	for _, dir := range []string{"HostToGuest", "GuestToHost"} {
		b.Run(dir, func(b *testing.B) {
			g, v := newGuest(b, Config{})
			l, addr := listenHost(b, g, false)
			c := v.mustDial(b, addr)
			h, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer h.Close()
			var from, to net.Conn = h, c
			if dir == "GuestToHost" {
				from, to = c, h
			}
			b.SetBytes(chunk)
			b.ReportAllocs()
			go func() {
				buf := make([]byte, chunk)
				for {
					if _, err := from.Write(buf); err != nil {
						return
					}
				}
			}()
			buf := make([]byte, 256<<10)
			for b.Loop() {
				for n := 0; n < chunk; {
					m, err := to.Read(buf[:min(len(buf), chunk-n)])
					if err != nil {
						b.Fatal(err)
					}
					n += m
				}
			}
		})
	}
}

// BenchmarkTCPRoundTrip measures the round trip of one byte.
func BenchmarkTCPRoundTrip(b *testing.B) {
	g, v := newGuest(b, Config{})
	l, addr := listenHost(b, g, false)
	go echoServer(l)
	c := v.mustDial(b, addr)
	buf := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(buf)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTCPConnect measures a connection from SYN to the last FIN.
func BenchmarkTCPConnect(b *testing.B) {
	g, v := newGuest(b, Config{})
	l, addr := listenHost(b, g, false)
	go echoServer(l)
	b.ReportAllocs()
	for b.Loop() {
		c, err := v.dial(addr)
		if err != nil {
			b.Fatal(err)
		}
		c.CloseWrite()
		io.Copy(io.Discard, c)
		c.Close()
	}
}

// BenchmarkUDPRoundTrip measures the round trip of one datagram.
func BenchmarkUDPRoundTrip(b *testing.B) {
	g, v := newGuest(b, Config{})
	c := v.dialUDP(b, 0, netip.AddrPortFrom(g.addrs.gateway4, portOf(udpEcho(b, "127.0.0.1:0"))))
	c.SetDeadline(time.Time{})
	b.ReportAllocs()
	for b.Loop() {
		if err := datagram(c, []byte("ping")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNew measures the start of a gateway and the memory of an idle one.
func BenchmarkNew(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	g, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	g.Close()
	for b.Loop() {
		g, err := New(Config{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		g.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "heap-bytes")
}
