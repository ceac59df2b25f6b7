package hostinet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// image is the other end of a server's socket.
type image struct {
	t  *testing.T
	fd int
}

// serve starts a server. It ends with the test, without an error.
func serve(t *testing.T, cfg Config) image {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Log == nil {
		cfg.Log = t.Logf
	}
	s := New(fds[0], cfg)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		s.Close()
		unix.Close(fds[1])
	})
	return image{t, fds[1]}
}

// ask sends a message and returns the reply's error, and the descriptor if there is one.
func (i image) ask(message []byte) (errno unix.Errno, fd int) {
	i.t.Helper()
	if err := unix.Send(i.fd, message, 0); err != nil {
		i.t.Fatal(err)
	}
	in, control := make([]byte, boot.MaxSocketReply), make([]byte, unix.CmsgSpace(4))
	n, size, _, _, err := unix.Recvmsg(i.fd, in, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		i.t.Fatal(err)
	}
	r, err := boot.ParseSocketReply(in[:n])
	if err != nil {
		i.t.Fatal(err)
	}
	list, err := unix.ParseSocketControlMessage(control[:size])
	if err != nil || len(list) == 0 {
		return unix.Errno(r.Errno), -1
	}
	fds, err := unix.ParseUnixRights(&list[0])
	if err != nil || len(fds) != 1 {
		i.t.Fatalf("descriptors %v, %v", fds, err)
	}
	return unix.Errno(r.Errno), fds[0]
}

func (i image) connect(r boot.SocketRequest) (errno unix.Errno, fd int) {
	i.t.Helper()
	r.Op = boot.SocketOpen
	return i.ask(r.Append(nil))
}

// conn returns the descriptor as a connection.
func (i image) conn(fd int) net.Conn {
	i.t.Helper()
	f := os.NewFile(uintptr(fd), "passed")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		i.t.Fatal(err)
	}
	return c
}

// direct reaches what the program names.
func direct(dst netip.AddrPort) (Target, error) { return Target{Addr: dst}, nil }

func TestConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	i := serve(t, Config{Target: direct})
	for _, test := range []struct {
		name   string
		domain uint8
		mapped bool
	}{{"IPv4", unix.AF_INET, false}, {"an IPv4 address on an IPv6 socket", unix.AF_INET6, true}} {
		t.Run(test.name, func(t *testing.T) {
			at := func(a net.Addr) []byte {
				addr := netip.MustParseAddrPort(a.String())
				if test.mapped {
					addr = netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())
				}
				return sockaddr(addr, 0)
			}
			errno, fd := i.connect(boot.SocketRequest{Domain: test.domain, Type: unix.SOCK_STREAM, Peer: at(l.Addr()), Options: []boot.SocketOption{
				{Level: unix.SOL_TCP, Name: unix.TCP_NODELAY, Value: []byte{1, 0, 0, 0}},
				{Level: unix.SOL_SOCKET, Name: unix.SO_MARK, Value: []byte{1, 0, 0, 0}}, // not for an image
			}})
			if errno != 0 {
				t.Fatal(errno)
			}
			if on, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY); on != 1 || err != nil {
				t.Errorf("TCP_NODELAY is %d, %v", on, err)
			}
			if mark, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK); mark != 0 || err != nil {
				t.Errorf("SO_MARK is %d, %v", mark, err)
			}
			c := i.conn(fd)
			peer, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, "hello"); err != nil {
				t.Fatal(err)
			}
			c.Close()
			if got, err := io.ReadAll(peer); string(got) != "hello" || err != nil {
				t.Errorf("the peer read %q, %v", got, err)
			}
			peer.Close()

			errno, fd = i.connect(boot.SocketRequest{Domain: test.domain, Type: unix.SOCK_DGRAM, Peer: at(pc.LocalAddr())})
			if errno != 0 {
				t.Fatal(errno)
			}
			if _, err := i.conn(fd).Write([]byte("datagram")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			if n, _, err := pc.ReadFrom(b); string(b[:n]) != "datagram" || err != nil {
				t.Errorf("the peer read %q, %v", b[:n], err)
			}
		})
	}
}

func TestWhatTheServerRefuses(t *testing.T) {
	here := sockaddr(netip.MustParseAddrPort("127.0.0.1:9"), 0)
	i := serve(t, Config{Target: func(dst netip.AddrPort) (Target, error) {
		if dst.Port() == 7 {
			return Target{}, unix.ECONNREFUSED
		}
		return direct(dst)
	}})
	for name, test := range map[string]struct {
		r    boot.SocketRequest
		want unix.Errno
	}{
		"a raw socket":                {boot.SocketRequest{Domain: unix.AF_INET, Type: unix.SOCK_RAW, Peer: here}, unix.EPROTONOSUPPORT},
		"a unix socket":               {boot.SocketRequest{Domain: unix.AF_UNIX, Type: unix.SOCK_STREAM, Peer: here}, unix.EPROTONOSUPPORT},
		"a netlink socket":            {boot.SocketRequest{Domain: unix.AF_NETLINK, Type: unix.SOCK_DGRAM, Peer: here}, unix.EPROTONOSUPPORT},
		"no address":                  {boot.SocketRequest{Domain: unix.AF_INET, Type: unix.SOCK_STREAM}, unix.EINVAL},
		"half an address":             {boot.SocketRequest{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: here[:9]}, unix.EINVAL},
		"an address of a unix socket": {boot.SocketRequest{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: []byte{unix.AF_UNIX, 0, '/', 'x'}}, unix.EAFNOSUPPORT},
		"what the network refuses":    {boot.SocketRequest{Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: sockaddr(netip.MustParseAddrPort("192.0.2.1:7"), 0)}, unix.ECONNREFUSED},
	} {
		if errno, fd := i.connect(test.r); errno != test.want || fd >= 0 {
			t.Errorf("%s: %v, descriptor %d, want %v", name, errno, fd, test.want)
		}
	}
	// A message that is none gets no answer, and does not disturb the next one.
	for _, bad := range []string{"x", strings.Repeat("x", boot.MaxSocketRequest+100)} {
		if err := unix.Send(i.fd, []byte(bad), 0); err != nil {
			t.Fatal(err)
		}
	}
	if errno, fd := i.connect(boot.SocketRequest{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Peer: here}); errno != 0 {
		t.Error(errno)
	} else {
		unix.Close(fd)
	}
}

func TestListening(t *testing.T) {
	type call struct {
		port    uint16
		backlog int
	}
	calls := make(chan call, 1)
	i := serve(t, Config{Target: direct, Listen: func(port uint16, backlog int) error {
		calls <- call{port, backlog}
		if port == 81 {
			return unix.EADDRINUSE
		}
		return nil
	}})
	for _, test := range []struct {
		r     boot.SocketRequest
		want  call
		errno unix.Errno
	}{
		{boot.SocketRequest{Op: boot.SocketPublish, Port: 80, Backlog: 5}, call{80, 5}, 0},
		{boot.SocketRequest{Op: boot.SocketUnpublish, Port: 80}, call{80, -1}, 0},
		{boot.SocketRequest{Op: boot.SocketPublish, Port: 81}, call{81, 0}, unix.EADDRINUSE},
	} {
		errno, fd := i.ask(test.r.Append(nil))
		if got := <-calls; got != test.want || errno != test.errno || fd >= 0 {
			t.Errorf("%+v: %+v, %v, descriptor %d", test.r, got, errno, fd)
		}
	}
}

// The ends that a target serves are bounded, because they are descriptors of this process.
func TestServedPeersAreBounded(t *testing.T) {
	i := serve(t, Config{Target: func(netip.AddrPort) (Target, error) {
		return Target{Serve: func(peer net.Conn, kind int) {
			defer peer.Close()
			_, _ = io.Copy(peer, peer) // until the image closes its end
		}}, nil
	}})
	request := boot.SocketRequest{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Peer: sockaddr(netip.MustParseAddrPort("10.0.2.3:53"), 0)}
	var open []int
	for range maxServed {
		errno, fd := i.connect(request)
		if errno != 0 {
			t.Fatal(errno)
		}
		open = append(open, fd)
	}
	if errno, _ := i.connect(request); errno != unix.ENFILE {
		t.Errorf("one more: %v", errno)
	}
	c := i.conn(open[0])
	if _, err := c.Write([]byte("query")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := c.Read(b); string(b[:n]) != "query" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	c.Close()
	for _, fd := range open[1:] {
		unix.Close(fd)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		errno, fd := i.connect(request)
		if errno == 0 {
			unix.Close(fd)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after all were closed: %v", errno)
		}
	}
}
