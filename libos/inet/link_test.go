package inet

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/platform"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"golang.org/x/sys/unix"
)

// host is one side of a network of two stacks.
type host struct {
	*stack.Stack
	link         *link
	addr4, addr6 string
	fd           int // descriptor of the wire's end
}

// wire makes two stacks, connected as an instance is to its gateway.
func wire(t *testing.T) (a, b *host) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	side := func(fd int, mac, addr4, addr6 string) *host {
		h, errno := platform.OpenHost(fd)
		if errno != 0 {
			t.Fatalf("opening the end of the wire: errno %d", errno)
		}
		cfg := &boot.Net{MAC: mac, Addr4: addr4 + "/24", Addr6: addr6 + "/64", MTU: 1500}
		l := newLink(&gatewaySocket{host: h}, linkAddress(cfg), 1500, true)
		s, routes := newStack(ipv6.Options{})
		s.SetRouteTable(append(routes, addEther(s, l, cfg)...))
		t.Cleanup(func() {
			if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
				t.Error(err)
			}
			s.Close()
		})
		return &host{s, l, addr4, addr6, fd}
	}
	return side(fds[0], "02:00:00:00:00:01", "10.0.2.15", "fd00::15"), side(fds[1], "02:00:00:00:00:02", "10.0.2.2", "fd00::2")
}

func full(addr string, port uint16) tcpip.FullAddress {
	ip := net.ParseIP(addr)
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return tcpip.FullAddress{Addr: tcpip.AddrFromSlice(ip), Port: port}
}

func TestLinkCarriesLargeSegmentsBothWays(t *testing.T) {
	a, b := wire(t)
	for _, c := range []struct {
		name, addr string
		proto      tcpip.NetworkProtocolNumber
	}{
		{"IPv4", b.addr4, ipv4.ProtocolNumber},
		{"IPv6", b.addr6, ipv6.ProtocolNumber},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := a.Stats().TCP.SegmentsSent.Value()
			l, err := gonet.ListenTCP(b.Stack, full(c.addr, 80), c.proto)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() { // an echo server
				s, err := l.Accept()
				if err != nil {
					return
				}
				io.Copy(s, s)
				s.Close()
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			conn, err := gonet.DialContextTCP(ctx, a.Stack, full(c.addr, 80), c.proto)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			data := make([]byte, 8<<20)
			rand.Read(data)
			go func() {
				conn.Write(data)
				conn.CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d of %d bytes came back, equal: %v, error: %v", len(got), len(data), bytes.Equal(got, data), err)
			}
			segments := a.Stats().TCP.SegmentsSent.Value() - before
			if most := uint64(len(data) / 1460); segments > most {
				t.Errorf("%d segments sent for %d bytes, want fewer than the %d that fit the MTU", segments, len(data), most)
			}
			if n := b.Stats().TCP.ChecksumErrors.Value(); n != 0 {
				t.Errorf("%d checksum errors", n)
			}
		})
	}
}

func TestLinkCarriesDatagrams(t *testing.T) {
	a, b := wire(t)
	for _, size := range []int{0, 1, 1000, 5000, 60000} { // larger than 1472 bytes: fragmented
		laddr, raddr := full(b.addr4, uint16(1000+size%100)), full(b.addr4, uint16(1000+size%100))
		server, err := gonet.DialUDP(b.Stack, &laddr, nil, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		client, err := gonet.DialUDP(a.Stack, nil, &raddr, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		rand.Read(data)
		if _, err := client.Write(data); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<16)
		if err := server.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := server.ReadFrom(buf)
		if err != nil || !bytes.Equal(buf[:n], data) {
			t.Errorf("datagram of %d bytes: received %d bytes, or the data differ: %v", size, n, err)
		}
		client.Close()
		server.Close()
	}
}

func TestLinkDropsDamagedFrames(t *testing.T) {
	a, b := wire(t)
	laddr, raddr := full(b.addr4, 53), full(b.addr4, 53)
	server, err := gonet.DialUDP(b.Stack, &laddr, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := gonet.DialUDP(a.Stack, nil, &raddr, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	packets := make(chan []byte, 1)
	b.link.mu.Lock()
	stackOfB := b.link.dispatcher
	b.link.dispatcher = capture{stackOfB, packets}
	b.link.mu.Unlock()
	if _, err := client.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	var frame []byte
	for frame == nil || frame[12] != 8 || frame[13] != 0 { // IPv4, not ARP
		frame = <-packets
	}
	if !checksumRight(frame) {
		t.Error("checksumRight rejects an undamaged frame")
	}
	for i := 26; i < len(frame); i++ { // the checksum covers the addresses and all that follows
		frame[i] ^= 0x10
		if checksumRight(frame) {
			t.Errorf("checksumRight accepts a frame whose byte %d is damaged", i)
		}
		frame[i] ^= 0x10
	}
}

// capture copies the frames that pass through it.
type capture struct {
	stack.NetworkDispatcher
	frames chan []byte
}

func (c capture) DeliverNetworkPacket(proto tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	v := pkt.ToView()
	c.frames <- bytes.Clone(v.AsSlice())
	v.Release()
	c.NetworkDispatcher.DeliverNetworkPacket(proto, pkt)
}

func TestLinkQueuesFramesUntilTheGatewayTakesThem(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	h, _ := platform.OpenHost(fds[0])
	l := newLink(&gatewaySocket{host: h}, "\x02\x00\x00\x00\x00\x01", 1500, true)
	const frames = 500
	for i := range frames {
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: 20})
		copy(pkt.NetworkHeader().Push(2), []byte{byte(i >> 8), byte(i)})
		err := l.WritePacket(pkt)
		pkt.DecRef()
		if err != nil {
			t.Fatalf("frame %d: %s", i, err)
		}
	}
	buf := make([]byte, boot.MaxFrame)
	for i := range frames {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fds[1]), Events: unix.POLLIN}}, 5000); err != nil {
			t.Fatal(err)
		}
		n, err := unix.Read(fds[1], buf)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if got := int(buf[n-2])<<8 | int(buf[n-1]); got != i {
			t.Fatalf("frame %d arrived instead of frame %d", got, i)
		}
	}
}

func TestLinkAllocations(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	h, _ := platform.OpenHost(fds[0])
	l := newLink(&gatewaySocket{host: h}, "\x02\x00\x00\x00\x00\x01", 1500, true)
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: 100})
	defer pkt.DecRef()
	pkt.NetworkHeader().Push(20)
	buf := make([]byte, boot.MaxFrame)
	if n := testing.AllocsPerRun(100, func() {
		if err := l.WritePacket(pkt); err != nil {
			t.Error(err)
		}
		if _, err := unix.Read(fds[1], buf); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%.0f allocations per packet, want none", n)
	}
}
