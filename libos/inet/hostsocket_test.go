package inet

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"
)

// outside returns the address under which a program reaches a port of this host.
func outside(a net.Addr) []byte {
	port := 0
	switch a := a.(type) {
	case *net.TCPAddr:
		port = a.Port
	case *net.UDPAddr:
		port = a.Port
	}
	return inet4(192, 0, 2, 1, uint16(port))
}

// finishConnect waits as connect(2) does, and returns SO_ERROR.
func finishConnect(t *testing.T, s socket.Socket) linux.Errno {
	t.Helper()
	_, errno := call.Block(s, wait.Out, int64(10*time.Second), func() (uintptr, linux.Errno) {
		if s.Ready()&(wait.Out|wait.Always) == 0 {
			return 0, linux.EAGAIN
		}
		var b [4]byte
		_, errno := s.Option(linux.SOL_SOCKET, linux.SO_ERROR, b[:])
		if v, _ := socket.GetInt(b[:]); errno == 0 {
			errno = linux.Errno(v)
		}
		return 0, errno
	})
	return errno
}

func TestDialOutside(t *testing.T) {
	publishHost()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newHostStream(linux.AF_INET)
	defer s.Release()
	if errno := s.SetOption(linux.SOL_TCP, linux.TCP_NODELAY, []byte{1, 0, 0, 0}); errno != 0 {
		t.Fatal(errno.Name())
	}
	if ev := s.Ready(); ev != wait.Out|wait.Hup {
		t.Errorf("a new socket is ready for %#x, want Out and Hup", ev)
	}
	if errno := s.Connect(outside(l.Addr())); errno != linux.EINPROGRESS {
		t.Fatalf("connect: %s", errno.Name())
	}
	if errno := finishConnect(t, s); errno != 0 {
		t.Fatalf("SO_ERROR: %s", errno.Name())
	}
	if s.inside.Load() != nil {
		t.Error("the stack has a socket for it")
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	b := make([]byte, 4)
	if _, errno := s.host.Load().Option(linux.SOL_TCP, linux.TCP_NODELAY, b); errno != 0 || b[0] == 0 {
		t.Errorf("the host's socket has TCP_NODELAY %d, %s", b[0], errno.Name())
	}
	if addr, errno := s.PeerAddr(); errno != 0 || !slices.Equal(addr, outside(l.Addr())) {
		t.Errorf("the peer is %x, %s", addr, errno.Name())
	}
	if addr, errno := s.LocalAddr(); errno != 0 || !slices.Equal(addr[4:8], []byte{10, 0, 2, 15}) || addr[2] == 0 && addr[3] == 0 {
		t.Errorf("the local address is %x, %s, want 10.0.2.15 and a port", addr, errno.Name())
	}
	if errno := s.Connect(outside(l.Addr())); errno != linux.EISCONN {
		t.Errorf("a second connect: %s", errno.Name())
	}
	if errno := s.Bind(inet4(0, 0, 0, 0, 0)); errno != linux.EINVAL {
		t.Errorf("bind: %s", errno.Name())
	}
	if errno := s.Listen(1); errno != linux.EINVAL {
		t.Errorf("listen: %s", errno.Name())
	}

	if n, errno := s.Send(&socket.Message{Data: [][]byte{[]byte("hel"), []byte("lo")}}, 0); n != 5 || errno != 0 {
		t.Errorf("send: %d, %s", n, errno.Name())
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(peer, got); string(got) != "hello" || err != nil {
		t.Errorf("the peer read %q, %v", got, err)
	}
	if ev := s.Ready(); ev != wait.Out {
		t.Errorf("without data, ready for %#x", ev)
	}
	io.WriteString(peer, "world")
	m := socket.Message{Data: [][]byte{make([]byte, 2), make([]byte, 8)}}
	n := blocking(t, s, wait.In, func() (int, linux.Errno) { return s.Recv(&m, linux.MSG_PEEK) })
	if string(m.Data[0])+string(m.Data[1][:max(n-2, 0)]) != "world" {
		t.Errorf("a look at %d bytes: %q", n, m.Data)
	}
	if n, errno := s.Recv(&m, 0); n != 5 || errno != 0 {
		t.Errorf("receive: %d, %s", n, errno.Name())
	}
	peer.Close()
	if n := blocking(t, s, wait.In, func() (int, linux.Errno) { return s.Read(got) }); n != 0 {
		t.Errorf("read %d bytes after the end", n)
	}
	if ev := s.Ready(); ev&(wait.In|wait.RdHup) != wait.In|wait.RdHup {
		t.Errorf("after the end, ready for %#x", ev)
	}
}

func TestADialThatFailsMayBeRepeated(t *testing.T) {
	publishHost()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := outside(l.Addr())
	l.Close()
	s := newHostStream(linux.AF_INET)
	defer s.Release()
	if errno := s.Connect(inet4(198, 51, 100, 1, 80)); errno != linux.EHOSTUNREACH {
		t.Errorf("what the monitor refuses: %s", errno.Name())
	}
	if errno := s.Connect(addr); errno != linux.EINPROGRESS {
		t.Fatal(errno.Name())
	}
	if errno := finishConnect(t, s); errno != linux.ECONNREFUSED {
		t.Errorf("SO_ERROR: %s", errno.Name())
	}
	if _, errno := s.PeerAddr(); errno != linux.ENOTCONN {
		t.Errorf("getpeername: %s", errno.Name())
	}
	l, err = net.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if errno := s.Connect(addr); errno != linux.EINPROGRESS {
		t.Fatalf("the second attempt: %s", errno.Name())
	}
	if errno := finishConnect(t, s); errno != 0 {
		t.Errorf("SO_ERROR of the second attempt: %s", errno.Name())
	}
}

func TestTheOwnAddressesStayInside(t *testing.T) {
	publishHost()
	for _, own := range [][]byte{{127, 0, 0, 1}, {127, 9, 9, 9}, {0, 0, 0, 0}} {
		l := newHostStream(linux.AF_INET)
		if errno := l.Bind(inet4(own[0], own[1], own[2], own[3], 0)); errno != 0 {
			t.Fatal(errno.Name())
		}
		if errno := l.Listen(1); errno != 0 {
			t.Fatal(errno.Name())
		}
		addr, errno := l.LocalAddr()
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		c := newHostStream(linux.AF_INET)
		if errno := c.Connect(addr); errno != linux.EINPROGRESS {
			t.Fatalf("%v: %s", own, errno.Name())
		}
		if errno := finishConnect(t, c); errno != 0 {
			t.Errorf("%v: %s", own, errno.Name())
		}
		a := blocking(t, l, wait.In, l.Accept)
		if n, errno := c.Write([]byte("x")); n != 1 || errno != 0 {
			t.Errorf("%v: write: %d, %s", own, n, errno.Name())
		}
		b := make([]byte, 9)
		if n := blocking(t, a, wait.In, func() (int, linux.Errno) { return a.Read(b) }); n != 1 {
			t.Errorf("%v: read %d bytes", own, n)
		}
		for _, s := range []socket.Socket{a, c, l} {
			s.Release()
		}
	}
}

func TestDatagramsOutside(t *testing.T) {
	publishHost()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	s := newHostDatagram(linux.AF_INET)
	defer s.Release()
	if errno := s.Connect(outside(pc.LocalAddr())); errno != 0 {
		t.Fatal(errno.Name())
	}
	if n, errno := s.Send(&socket.Message{Data: [][]byte{[]byte("pi"), []byte("ng")}}, 0); n != 4 || errno != 0 {
		t.Errorf("send: %d, %s", n, errno.Name())
	}
	b := make([]byte, 10)
	n, from, err := pc.ReadFrom(b)
	if string(b[:n]) != "ping" || err != nil {
		t.Fatalf("the peer read %q, %v", b[:n], err)
	}
	if _, err := pc.WriteTo([]byte("longer"), from); err != nil {
		t.Fatal(err)
	}
	m := socket.Message{Data: [][]byte{make([]byte, 3)}}
	n = blocking(t, s, wait.In, func() (int, linux.Errno) { return s.Recv(&m, 0) })
	if n != 3 || string(m.Data[0]) != "lon" || m.Flags != linux.MSG_TRUNC || !slices.Equal(m.Addr, outside(pc.LocalAddr())) {
		t.Errorf("received %d bytes, %q, flags %#x, from %x", n, m.Data[0], m.Flags, m.Addr)
	}
	// Nobody is there any more: the host's ICMP error arrives.
	pc.Close()
	if _, errno := s.Write([]byte("x")); errno != 0 {
		t.Fatal(errno.Name())
	}
	_, errno := call.Block(s, wait.In, int64(10*time.Second), func() (uintptr, linux.Errno) {
		_, errno := s.Read(b)
		return 0, errno
	})
	if errno != linux.ECONNREFUSED {
		t.Errorf("read: %s, want ECONNREFUSED", errno.Name())
	}
	if errno := s.Connect([]byte{0, 0, 0, 0}); errno != 0 || s.host.Load() != nil {
		t.Errorf("connect to AF_UNSPEC: %s", errno.Name())
	}
}
