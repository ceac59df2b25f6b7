package inet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/hostinet"
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"

	"golang.org/x/sys/unix"
)

const publishedPort = 8080

func TestMain(m *testing.M) {
	network() // made before the device is configured: in a test process, descriptor 4 is no gateway
	platform.Config().Net = &boot.Net{Addr4: "10.0.2.15/24", Gateway4: "10.0.2.2", MTU: 1500}
	platform.Config().Publish = []uint16{publishedPort}
	os.Exit(m.Run())
}

// publishHost makes a listening socket of the host for the published port,
// shared by all tests, and returns its address.
var publishHost = sync.OnceValue(func() string {
	// Bind to an explicit port: a socket that stops listening loses an automatic
	// one.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	addr := free.Addr().(*net.TCPAddr)
	free.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())})
	}
	if err != nil {
		panic(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		panic(err)
	}
	server := hostinet.New(fds[1], hostinet.Config{
		Log: func(string, ...any) {},
		// 192.0.2.1 is this host's loopback interface.
		Target: func(dst netip.AddrPort) (hostinet.Target, error) {
			if dst.Addr() != netip.AddrFrom4([4]byte{192, 0, 2, 1}) {
				return hostinet.Target{}, unix.EHOSTUNREACH
			}
			return hostinet.Target{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dst.Port())}, nil
		},
		Listen: func(port uint16, backlog int) error {
			time.Sleep(5 * time.Millisecond) // it takes some time
			if backlog >= 0 {
				return unix.Listen(fd, backlog)
			}
			return unix.Shutdown(fd, unix.SHUT_RD)
		},
	})
	go server.Serve()
	host, _ := platform.OpenHost(fds[0])
	b := &broker{host: host}
	monitor = func() *broker { return b }
	ports()[0].host, _ = platform.OpenHost(fd)
	return addr.String()
})

// listenPublished returns a program's listener on the published port.
func listenPublished(t *testing.T, addr []byte, backlog int) socket.Socket {
	t.Helper()
	publishHost()
	s, errno := open(family(addr), linux.SOCK_STREAM, 0)
	if errno == 0 {
		errno = s.SetOption(linux.SOL_SOCKET, linux.SO_REUSEADDR, []byte{1, 0, 0, 0})
	}
	if errno == 0 {
		errno = s.Bind(addr)
	}
	if errno == 0 {
		errno = s.Listen(backlog)
	}
	if errno != 0 {
		t.Fatalf("listening on the published port: errno %d", errno)
	}
	return s
}

// blocking calls try until it does not return EAGAIN.
func blocking[T any](t testing.TB, s socket.Socket, ev wait.Events, try func() (T, linux.Errno)) T {
	t.Helper()
	var v T
	_, errno := call.Block(s, ev, int64(5*time.Second), func() (uintptr, linux.Errno) {
		var errno linux.Errno
		v, errno = try()
		return 0, errno
	})
	if errno != 0 {
		t.Errorf("waiting: errno %d", errno)
	}
	return v
}

func TestPublishedPort(t *testing.T) {
	s := listenPublished(t, inet6("::", publishedPort), 1)
	client, err := net.Dial("tcp", publishHost())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c := blocking(t, s, wait.In, s.Accept)

	local, _ := c.LocalAddr()
	peer, _ := c.PeerAddr()
	if got := local[8:24]; string(got[10:]) != "\xff\xff\x0a\x00\x02\x0f" || local[2] != publishedPort>>8 || local[3] != publishedPort&0xff {
		t.Errorf("local address %x, want the device's", local)
	}
	if got := peer[8:24]; string(got[10:]) != "\xff\xff\x0a\x00\x02\x02" {
		t.Errorf("peer address %x, want the gateway's, because the client is on the host's loopback interface", peer)
	}

	read := func(n int) string {
		b := make([]byte, n)
		n = blocking(t, c, wait.In, func() (int, linux.Errno) { return c.Read(b) })
		return string(b[:n])
	}
	io.WriteString(client, "hello")
	m := socket.Message{Data: [][]byte{make([]byte, 2)}}
	if n := blocking(t, c, wait.In, func() (int, linux.Errno) { return c.Recv(&m, linux.MSG_PEEK) }); n != 2 || string(m.Data[0]) != "he" {
		t.Errorf("peek returned %d bytes, %q, want 2, \"he\"", n, m.Data[0])
	}
	got := read(4)
	got += read(4)
	if got != "hello" {
		t.Errorf("read %q, want hello", got)
	}
	if _, errno := c.Read(make([]byte, 1)); errno != linux.EAGAIN && errno != 0 {
		t.Errorf("reading without data: errno %d, want EAGAIN", errno)
	}
	if ev := c.Ready(); ev&wait.Out == 0 {
		t.Errorf("Ready is %#x, want Out", ev)
	}

	out := socket.Message{Data: [][]byte{[]byte("wor"), []byte("ld")}}
	if n, errno := c.Send(&out, 0); n != 5 || errno != 0 {
		t.Errorf("send returned %d, errno %d, want 5", n, errno)
	}
	if errno := c.Shutdown(linux.SHUT_WR); errno != 0 {
		t.Errorf("shutdown: %d", errno)
	}
	if got, err := io.ReadAll(client); string(got) != "world" || err != nil {
		t.Errorf("client received %q, %v, want \"world\"", got, err)
	}
	client.Close()
	if got := read(1); got != "" {
		t.Errorf("after the client closed, read returned %q", got)
	}
	if ev := c.Ready(); ev&(wait.In|wait.RdHup) != wait.In|wait.RdHup {
		t.Errorf("Ready is %#x, want In and RdHup", ev)
	}
	c.Release()
	s.Release()
}

// When listen returns, a program may tell a client of the port at once, as an
// FTP server does. When close returns, no client may connect any more.
func TestTheHostListensWhenListenReturns(t *testing.T) {
	for i := range 5 {
		s := listenPublished(t, inet6("::", publishedPort), 1)
		client, err := net.Dial("tcp", publishHost())
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		blocking(t, s, wait.In, s.Accept).Release()
		s.Release()
		client.Close()
		if client, err := net.Dial("tcp", publishHost()); err == nil {
			client.Close()
			t.Fatalf("round %d: a client connected after close", i)
		}
	}
}

func TestPublishedPortAlsoListensInside(t *testing.T) {
	s := listenPublished(t, inet4(0, 0, 0, 0, publishedPort), 5)
	defer s.Release()
	c, errno := open(linux.AF_INET, linux.SOCK_STREAM, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer c.Release()
	if errno := c.Connect(inet4(127, 0, 0, 1, publishedPort)); errno != linux.EINPROGRESS {
		t.Fatalf("connect: errno %d", errno)
	}
	in := blocking(t, s, wait.In, s.Accept)
	defer in.Release()
	if _, ok := in.(*stream); !ok {
		t.Errorf("accepted a %T, want a stream of the stack", in)
	}
}

func TestAcceptedConnectionsInheritOptions(t *testing.T) {
	publishHost()
	s := newHostStream(linux.AF_INET)
	defer s.Release()
	set := func(level, name int, v byte) {
		t.Helper()
		if errno := s.SetOption(level, name, []byte{v, 0, 0, 0}); errno != 0 {
			t.Fatalf("option %d/%d: %s", level, name, errno.Name())
		}
	}
	set(linux.SOL_SOCKET, linux.SO_REUSEADDR, 1)
	set(linux.SOL_TCP, linux.TCP_KEEPIDLE, 77)
	if errno := s.Bind(inet4(0, 0, 0, 0, publishedPort)); errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := s.Listen(5); errno != 0 {
		t.Fatal(errno.Name())
	}
	client, err := net.Dial("tcp", publishHost())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c := blocking(t, s, wait.In, s.Accept).(*hostStream)
	defer c.Release()
	b := make([]byte, 4)
	if _, errno := c.host.Load().Option(linux.SOL_TCP, linux.TCP_KEEPIDLE, b); errno != 0 || b[0] != 77 {
		t.Errorf("the host's socket has TCP_KEEPIDLE %d, %s, want 77", b[0], errno.Name())
	}
	if _, errno := c.Option(linux.SOL_TCP, linux.TCP_KEEPIDLE, b); errno != 0 || b[0] != 77 {
		t.Errorf("the program reads TCP_KEEPIDLE %d, %s, want 77", b[0], errno.Name())
	}
}

func TestHostStreamOptionsReadBack(t *testing.T) {
	s := newHostStream(linux.AF_INET)
	s.Init(linux.AF_INET, linux.SOCK_STREAM, linux.IPPROTO_TCP)
	get := func(level, name int) int {
		b := make([]byte, 4)
		if _, errno := s.Option(level, name, b); errno != 0 {
			t.Fatalf("option %d/%d: errno %d", level, name, errno)
		}
		v, _ := socket.GetInt(b)
		return v
	}
	if got := get(linux.SOL_TCP, linux.TCP_KEEPIDLE); got != 7200 {
		t.Errorf("TCP_KEEPIDLE is %d, want 7200", got)
	}
	if errno := s.SetOption(linux.SOL_TCP, linux.TCP_NODELAY, []byte{1, 0, 0, 0}); errno != 0 {
		t.Fatal(errno)
	}
	if got := get(linux.SOL_TCP, linux.TCP_NODELAY); got != 1 {
		t.Errorf("TCP_NODELAY is %d, want 1", got)
	}
	if got := get(linux.SOL_SOCKET, linux.SO_TYPE); got != linux.SOCK_STREAM {
		t.Errorf("SO_TYPE is %d, want SOCK_STREAM", got)
	}
	if _, errno := s.Option(linux.SOL_TCP, 9999, make([]byte, 4)); errno != linux.ENOPROTOOPT {
		t.Errorf("unknown option: errno %d, want ENOPROTOOPT", errno)
	}
}
