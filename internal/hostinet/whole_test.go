package hostinet

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// whole starts a server for an image that has the network of this process's namespace.
func whole(t *testing.T, target func(netip.AddrPort) (Target, error)) image {
	return serve(t, Config{Whole: true, Target: target, Listen: func(uint16, int) error { return unix.EINVAL }})
}

// must fails the test unless an operation gives the error.
func (i image) must(want unix.Errno, r boot.SocketRequest) (fd int) {
	i.t.Helper()
	errno, fd := i.ask(r.Append(nil))
	if errno != want {
		i.t.Errorf("%+v: %v, want %v", r, errno, want)
	}
	return fd
}

var loopback = sockaddr(netip.MustParseAddrPort("127.0.0.1:0"), 0)

func TestSocketsByHandle(t *testing.T) {
	i := whole(t, nil)
	fd := i.must(0, boot.SocketRequest{Op: boot.SocketOpen, Handle: 5, Domain: unix.AF_INET, Type: unix.SOCK_STREAM})
	i.must(unix.EEXIST, boot.SocketRequest{Op: boot.SocketOpen, Handle: 5, Domain: unix.AF_INET, Type: unix.SOCK_STREAM})
	i.must(0, boot.SocketRequest{Op: boot.SocketBind, Handle: 5, Peer: loopback})
	i.must(unix.EINVAL, boot.SocketRequest{Op: boot.SocketBind, Handle: 5, Peer: loopback})
	// Removing the peer is no connection: the server keeps its copy.
	i.must(0, boot.SocketRequest{Op: boot.SocketConnect, Handle: 5, Peer: make([]byte, 16)})
	i.must(0, boot.SocketRequest{Op: boot.SocketListen, Handle: 5, Backlog: 5})
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port))
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	// The port is free when both copies are closed.
	unix.Close(fd)
	if c, err := net.Dial("tcp", at.String()); err != nil {
		t.Errorf("the server has no copy: %v", err)
	} else {
		c.Close()
	}
	i.must(0, boot.SocketRequest{Op: boot.SocketClose, Handle: 5})
	if c, err := net.Dial("tcp", at.String()); err == nil {
		c.Close()
		t.Error("the socket listens after SocketClose")
	}
	for _, op := range []boot.SocketOp{boot.SocketBind, boot.SocketConnect, boot.SocketListen, boot.SocketSet, boot.SocketGet,
		boot.SocketName, boot.SocketPeer, boot.SocketReach, boot.SocketClose} {
		i.must(unix.EBADF, boot.SocketRequest{Op: op, Handle: 5, Peer: loopback})
	}
}

func TestAConnectionHasNoCopy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	i := whole(t, nil)
	fd := i.must(0, boot.SocketRequest{Op: boot.SocketOpen, Handle: 1, Domain: unix.AF_INET, Type: unix.SOCK_STREAM})
	i.must(unix.EINPROGRESS, boot.SocketRequest{Op: boot.SocketConnect, Handle: 1, Peer: sockaddr(l.Addr().(*net.TCPAddr).AddrPort(), 0)})
	i.must(unix.EBADF, boot.SocketRequest{Op: boot.SocketClose, Handle: 1})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	unix.Close(fd)
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || err.Error() != "EOF" {
		t.Errorf("the image has closed its only copy: %d, %v", n, err)
	}
}

func TestOptionsThatNoImageSets(t *testing.T) {
	i := whole(t, nil)
	fd := i.must(0, boot.SocketRequest{Op: boot.SocketOpen, Handle: 1, Domain: unix.AF_INET6, Type: unix.SOCK_STREAM})
	defer unix.Close(fd)
	one := []byte{1, 0, 0, 0}
	option := func(level, name int, value []byte) []boot.SocketOption {
		return []boot.SocketOption{{Level: uint32(level), Name: uint32(name), Value: value}}
	}
	i.must(0, boot.SocketRequest{Op: boot.SocketSet, Handle: 1, Options: option(unix.SOL_SOCKET, unix.SO_REUSEPORT, one)})
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT); on != 1 || err != nil {
		t.Errorf("SO_REUSEPORT is %d, %v", on, err)
	}
	i.must(0, boot.SocketRequest{Op: boot.SocketGet, Handle: 1, Options: option(unix.SOL_SOCKET, unix.SO_REUSEPORT, make([]byte, 4))})
	for _, o := range [][2]int{
		{unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, {unix.SOL_SOCKET, unix.SO_ATTACH_BPF},
		{unix.SOL_SOCKET, unix.SO_ZEROCOPY}, {unix.SOL_TCP, unix.TCP_ULP}, {unix.SOL_TCP, unix.TCP_REPAIR}, {unix.SOL_TCP, unix.TCP_FASTOPEN},
		{unix.SOL_TCP, unix.TCP_CONGESTION}, {unix.SOL_IP, unix.IP_OPTIONS}, {unix.SOL_IP, unix.IP_HDRINCL}, {unix.SOL_IPV6, unix.IPV6_RTHDR}, {unix.SOL_IPV6, unix.IPV6_HOPOPTS},
	} {
		i.must(unix.ENOPROTOOPT, boot.SocketRequest{Op: boot.SocketSet, Handle: 1, Options: option(o[0], o[1], one)})
		if name := o[1]; o[0] != unix.SOL_TCP || name != unix.TCP_CONGESTION { // that one may be read
			i.must(unix.ENOPROTOOPT, boot.SocketRequest{Op: boot.SocketGet, Handle: 1, Options: option(o[0], o[1], one)})
		}
	}
	i.must(unix.EPERM, boot.SocketRequest{Op: boot.SocketSet, Handle: 1, Options: option(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, one)})
	i.must(unix.EINVAL, boot.SocketRequest{Op: boot.SocketGet, Handle: 1})
}

func TestTablesAndInterfaces(t *testing.T) {
	i := whole(t, nil)
	for _, name := range boot.SocketTables {
		fd := i.must(0, boot.SocketRequest{Op: boot.SocketTable, Peer: []byte(name)})
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY {
			t.Errorf("%s: flags %#x, %v", name, flags, err)
		}
		unix.Close(fd)
	}
	for _, name := range []string{"", "../status", "packet", "unix", "/etc/passwd", "tcp/../../mem"} {
		i.must(unix.ENOENT, boot.SocketRequest{Op: boot.SocketTable, Peer: []byte(name)})
	}
	ifreq := append([]byte("lo"), make([]byte, 38)...)
	request := func(name uint32, value []byte) boot.SocketRequest {
		return boot.SocketRequest{Op: boot.SocketInterface, Options: []boot.SocketOption{{Name: name, Value: value}}}
	}
	i.must(0, request(unix.SIOCGIFMTU, ifreq))
	i.must(unix.ENOTTY, request(unix.SIOCSIFMTU, ifreq))
	i.must(unix.ENOTTY, request(unix.SIOCGIFCONF, ifreq))
	i.must(unix.ENOTTY, request(unix.SIOCGIFMTU, ifreq[:39]))
	i.must(unix.ENOTTY, boot.SocketRequest{Op: boot.SocketInterface})
}

// An image in the user-mode network has none of these operations.
func TestWithoutTheNetworkOfTheNamespace(t *testing.T) {
	i := serve(t, Config{Target: direct})
	for op := boot.SocketBind; op <= boot.SocketClose; op++ {
		i.must(unix.EPERM, boot.SocketRequest{Op: op, Handle: 1, Peer: loopback})
	}
	i.must(unix.EPERM, boot.SocketRequest{Op: boot.SocketTable, Peer: []byte("tcp")})
	i.must(unix.EPERM, boot.SocketRequest{Op: boot.SocketInterface})
	i.must(unix.EPERM, boot.SocketRequest{Op: boot.SocketOpen, Handle: 1, Domain: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: loopback})
	i.must(unix.EPROTONOSUPPORT, boot.SocketRequest{Op: boot.SocketOpen, Domain: unix.AF_NETLINK, Type: unix.SOCK_DGRAM, Peer: make([]byte, 12)})
}

func TestNetlinkQueriesOnly(t *testing.T) {
	i := whole(t, nil)
	i.must(unix.EINVAL, boot.SocketRequest{Op: boot.SocketOpen, Domain: unix.AF_NETLINK, Type: unix.SOCK_DGRAM})
	i.must(unix.EPROTONOSUPPORT, boot.SocketRequest{Op: boot.SocketOpen, Domain: unix.AF_NETLINK, Type: unix.SOCK_DGRAM, Protocol: unix.NETLINK_NETFILTER, Peer: make([]byte, 12)})
	fd := i.must(0, boot.SocketRequest{Op: boot.SocketOpen, Domain: unix.AF_NETLINK, Type: unix.SOCK_DGRAM, Peer: make([]byte, 12)})
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	message := func(typ, flags uint16, seq uint32) []byte {
		b := make([]byte, 16+16)
		binary.NativeEndian.PutUint32(b, uint32(len(b)))
		binary.NativeEndian.PutUint16(b[4:], typ)
		binary.NativeEndian.PutUint16(b[6:], flags)
		binary.NativeEndian.PutUint32(b[8:], seq)
		return b
	}
	b := make([]byte, 1<<16)
	if n, err := unix.Read(fd, b); n != 4 || err != nil {
		t.Fatalf("the port: %d bytes, %v", n, err)
	}
	// Only the last one is answered: the others are changes, or no messages.
	for _, m := range [][]byte{
		message(unix.RTM_SETLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 1),
		append(message(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 2), message(unix.RTM_DELADDR, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 3)...),
		message(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 4)[:20],
		message(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 5),
	} {
		if _, err := unix.Write(fd, m); err != nil {
			t.Fatal(err)
		}
	}
	n, err := unix.Read(fd, b)
	if err != nil || n < 16 || binary.NativeEndian.Uint16(b[4:]) != unix.RTM_NEWLINK || binary.NativeEndian.Uint32(b[8:]) != 5 {
		t.Errorf("the first answer: % x, %v", b[:max(n, 0)], err)
	}
}

// datagram returns a message of a relayed socket.
func datagram(t *testing.T, d boot.Datagram, data string) []byte {
	t.Helper()
	var header [boot.DatagramHeader]byte
	if !d.Put(&header) {
		t.Fatalf("%+v does not fit", d)
	}
	return append(header[:], data...)
}

func TestDatagramsAreChecked(t *testing.T) {
	open, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	at := open.LocalAddr().(*net.UDPAddr).AddrPort()
	i := whole(t, func(dst netip.AddrPort) (Target, error) {
		if dst == at {
			return Target{Addr: dst}, nil
		}
		return Target{}, unix.ECONNREFUSED
	})
	for _, domain := range []uint8{unix.AF_INET, unix.AF_INET6} {
		fd := i.must(0, boot.SocketRequest{Op: boot.SocketOpen, Handle: uint32(domain), Domain: domain, Type: unix.SOCK_DGRAM})
		defer unix.Close(fd)
		closed := sockaddr(netip.MustParseAddrPort("127.0.0.1:9"), 0)
		i.must(unix.ECONNREFUSED, boot.SocketRequest{Op: boot.SocketReach, Handle: uint32(domain), Peer: closed})
		i.must(unix.ECONNREFUSED, boot.SocketRequest{Op: boot.SocketConnect, Handle: uint32(domain), Peer: closed})
		for _, lost := range [][]byte{
			datagram(t, boot.Datagram{Addr: closed}, "x"),
			datagram(t, boot.Datagram{}, "x"), // there is no peer
			datagram(t, boot.Datagram{Addr: sockaddr(at, 0), Control: unix.UnixRights(0)}, "x"),
			datagram(t, boot.Datagram{Addr: []byte{unix.AF_UNIX, 0, '/', 'x'}}, "x"),
			{1}, make([]byte, boot.DatagramHeader-1), append([]byte{0, 0, 0, 0, 99}, make([]byte, boot.DatagramHeader)...),
			datagram(t, boot.Datagram{Addr: sockaddr(at, 0)}, "hello"), // the one that arrives
		} {
			if _, err := unix.Write(fd, lost); err != nil {
				t.Fatal(err)
			}
		}
		i.must(0, boot.SocketRequest{Op: boot.SocketReach, Handle: uint32(domain), Peer: sockaddr(at, 0)})
		b := make([]byte, 100)
		if err := open.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, _, err := open.ReadFrom(b); string(b[:n]) != "hello" || err != nil {
			t.Errorf("an open address: %q, %v", b[:n], err)
		}
	}
	// What was sent before the close arrives.
	fd := i.must(0, boot.SocketRequest{Op: boot.SocketOpen, Handle: 99, Domain: unix.AF_INET, Type: unix.SOCK_DGRAM})
	last := datagram(t, boot.Datagram{Addr: sockaddr(at, 0)}, "last")
	const sent = 50
	for range sent {
		if _, err := unix.Write(fd, last); err != nil {
			t.Fatal(err)
		}
	}
	i.must(0, boot.SocketRequest{Op: boot.SocketClose, Handle: 99}) // the image's end is still open
	for n := range sent {
		if _, _, err := open.ReadFrom(make([]byte, 10)); err != nil {
			t.Fatalf("%d of %d arrive: %v", n, sent, err)
		}
	}
	if _, err := unix.Write(fd, last); err != unix.EPIPE {
		t.Errorf("after the close: %v", err)
	}
	unix.Close(fd)
	// Nobody would check the datagrams of a socket that is passed.
	i.must(unix.EINVAL, boot.SocketRequest{Op: boot.SocketOpen, Domain: unix.AF_INET, Type: unix.SOCK_DGRAM})
}

// FuzzRequests sends requests of every kind. The server answers each, and goes on.
func FuzzRequests(f *testing.F) {
	for op := boot.SocketOpen; op <= boot.SocketInterface; op++ {
		f.Add((&boot.SocketRequest{Op: op, Handle: 1, Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Peer: loopback}).Append(nil), true)
	}
	f.Fuzz(func(t *testing.T, message []byte, checked bool) {
		r, err := boot.ParseSocketRequest(message)
		if err != nil {
			return
		}
		refuse := func(netip.AddrPort) (Target, error) { return Target{}, unix.ECONNREFUSED }
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[1])
		cfg := Config{Whole: true, Listen: func(uint16, int) error { return unix.EINVAL }, Log: t.Logf, Target: refuse}
		if !checked && r.Op != boot.SocketOpen && r.Op != boot.SocketConnect { // send nothing from here
			cfg.Target = nil
		}
		s := New(fds[0], cfg)
		ended := make(chan error, 1)
		go func() { ended <- s.Serve() }()
		i := image{t, fds[1]}
		for _, m := range [][]byte{
			(&boot.SocketRequest{Op: boot.SocketOpen, Handle: 1, Domain: unix.AF_INET, Type: unix.SOCK_DGRAM}).Append(nil), message, message,
		} {
			if _, fd := i.ask(m); fd >= 0 {
				unix.Close(fd)
			}
		}
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
	})
}
